"""Damaged inputs for every reader: each gives a valid result or an error of echolib.errors that names the file."""
