"""The bundle in containers: the image, the compose files, other people's test tools."""
