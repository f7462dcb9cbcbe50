"""From a screen's settings to its site table and its pixels."""
