"""Objects of any S3 store as entities of DataHub: datasets, models, documents, media.

``Describer`` turns an object into DataHub's proposals, a sink sends them, ``Sync`` does it for a
prefix and marks what was deleted. Entities and containers have the URNs that DataHub's own ``s3``
source gives them, so that pushing from here and pulling from there meet in the same entities.

Needs the extra ``datahub``. This module imports nothing, because the command line does.
"""
