"""The one door to Alibaba Cloud Model Studio: wire shapes, errors, client."""
