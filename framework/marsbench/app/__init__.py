"""A web page that tells the emotion of a recording; needs the extra `marsbench[app]`."""
