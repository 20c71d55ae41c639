"""A Streamlit page that predicts the emotion of a recording; needs the extra `marsbench[app]`."""
