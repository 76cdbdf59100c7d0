"""Processes of a run: started, watched, heard. Nothing here sees a tensor."""
