"""Any weights file: its header, its tensors, its stacks of layers. One reader, one list of what a file may contain."""
