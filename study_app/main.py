"""The page that Streamlit draws, again on every interaction."""

from study_app.pages import show

show()
