"""What the book says: a folder for each paper, a module for each table or figure."""
