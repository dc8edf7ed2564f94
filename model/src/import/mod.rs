//! Reading the files of the libraries that train models.
