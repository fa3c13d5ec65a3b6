"""Options of every preset for the tests on a tiny random model of 2 + 4 blocks at 10 steps."""

# options with which each preset does something on a random model, and those with which it may do nothing
ENGAGED = {
    "teacache": "coefficients=identity:threshold=0.6",
    "teablockcache": "coefficients=identity:threshold=2:first=1:taylor=1:calm=0.9:times=1",
    "seacache": "threshold=0.6",
    "magcache": "threshold=0.3",
    "fbcache": "threshold=2",
    "firstblock-taylor": "threshold=2",
    "dbcache": "threshold=2:first=1:last=1:warmup=3:order=1",
    "taylorseer": "mode=module:order=2",
    "blockdance": "interval=3",
    "sortblock": "period=4",
    "static": "mask=0/1/4/6",
    "cache": "scope=module:modules=attention:indicator=probe:estimator=newton:order=2:nodes=sigma:threshold=0.9",
}
OFF = {
    "taylorseer": "interval=1:mode=module",
    "blockdance": "interval=1",
    "sortblock": "period=1",
    "static": "mask=1111111111",
    "cache": "threshold=0:scope=blocks",
    "teacache": "coefficients=identity:threshold=0",
    "teablockcache": "coefficients=identity:threshold=0:taylor=1",
    "dbcache": "threshold=0:first=1",
}
