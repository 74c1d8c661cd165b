"""Views of the page: one for the watch list, and one for each tab."""
