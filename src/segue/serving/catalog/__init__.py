"""Items and placement rules that are changed while a server runs."""
