"""People look at the scenes in a browser, and keep, drop or edit them; `assemble` applies what they decided."""
