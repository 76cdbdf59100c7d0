"""What is in weights, computed: statistics, linearity over the layers, differences."""
