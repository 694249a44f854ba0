def report(context): pass
