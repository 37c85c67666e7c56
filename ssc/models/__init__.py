"""The networks: backbones, External Attention Modules, modulation, variants."""
