"""`streamlit run study_app`: the web app, with a route of its own for the videos."""

import sys
from pathlib import Path

import streamlit as st

# Streamlit puts this folder on the path, not the one that holds the package.
sys.path.append(str(Path(__file__).resolve().parent.parent))

from study_app.media import ROUTES

app = st.App("main.py", routes=ROUTES)
