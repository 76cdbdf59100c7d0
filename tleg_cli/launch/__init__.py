"""Processes of a run: started, watched and stopped. Nothing here sees a tensor."""
