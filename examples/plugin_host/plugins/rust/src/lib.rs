//! Nothing: the plug-ins are in `examples`.
