"""The pages that Streamlit draws, again on every interaction: the rater's, and the organiser's at /organiser."""

import streamlit as st

from study_app import admin, pages

st.navigation(
    [st.Page(pages.show, title="Study", default=True), st.Page(admin.show, title="Organiser", url_path="organiser")],
    position="hidden",
).run()
