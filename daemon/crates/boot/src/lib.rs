//! The boot decision and the view it reads, iPXE scripts, and the catalogue of images.
