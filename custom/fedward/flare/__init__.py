"""The only importer of nvflare: executor, controller, persistor, kits, processes."""
