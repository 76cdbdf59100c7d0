"""Networks: the hollow skeleton, the aux net, descendants and the teacher. timm builds them all."""
