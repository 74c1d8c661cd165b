"""Parts of the page that NiceGUI does not have: each a Python class and its Vue component."""
