//! The libraries that `model` compares itself with, by their C interfaces, loaded when they are there.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use anyhow::{Result, bail, ensure};

/// A shared library, open until the process ends.
pub(crate) struct Library(*mut c_void);

impl Library {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let name = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: the name ends with a zero. The library's constructors run: it is one that the operator has named.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            // SAFETY: after a failure it is a message, valid until the next call.
            let message = unsafe { CStr::from_ptr(libc::dlerror()) };
            bail!("{}: {}", path.display(), message.to_string_lossy());
        }
        Ok(Self(handle))
    }

    /// A function of the library.
    ///
    /// # Safety
    ///
    /// It has to have this type.
    unsafe fn function<F: Copy>(&self, name: &CStr) -> Result<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>(), "a pointer to a function") }
        // SAFETY: the handle is open, the name ends with a zero.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        ensure!(!address.is_null(), "the library has no {}", name.to_string_lossy());
        // SAFETY: of the same size, and of this type as the caller promises.
        Ok(unsafe { std::mem::transmute_copy(&address) })
    }
}

const LIGHTGBM_F64: c_int = 1;
const LIGHTGBM_RAW: c_int = 1;
const ONE_THREAD: &CStr = c"num_threads=1 predict_disable_shape_check=true";

type SingleRowFast = unsafe extern "C" fn(*mut c_void, *const c_void, *mut i64, *mut f64) -> c_int;
type ForMat = unsafe extern "C" fn(
    *mut c_void,
    *const c_void,
    c_int,
    i32,
    i32,
    c_int,
    c_int,
    c_int,
    c_int,
    *const c_char,
    *mut i64,
    *mut f64,
) -> c_int;
type FastInit = unsafe extern "C" fn(
    *mut c_void,
    c_int,
    c_int,
    c_int,
    c_int,
    i32,
    *const c_char,
    *mut *mut c_void,
) -> c_int;
type FromFile = unsafe extern "C" fn(*const c_char, *mut c_int, *mut *mut c_void) -> c_int;

/// A model in LightGBM.
pub(crate) struct LightGbm<'l> {
    _library: &'l Library,
    booster: *mut c_void,
    fast: *mut c_void,
    single: SingleRowFast,
    many: ForMat,
    width: usize,
}

impl<'l> LightGbm<'l> {
    pub(crate) fn load(library: &'l Library, model: &Path, width: usize) -> Result<Self> {
        let name = CString::new(model.as_os_str().as_bytes())?;
        // SAFETY: the types are those of LightGBM's c_api.h; all that is pointed to lives as long as the calls.
        unsafe {
            let from_file: FromFile = library.function(c"LGBM_BoosterCreateFromModelfile")?;
            let init: FastInit = library.function(c"LGBM_BoosterPredictForMatSingleRowFastInit")?;
            let (mut iterations, mut booster, mut fast) = (0, ptr::null_mut(), ptr::null_mut());
            ensure!(
                from_file(name.as_ptr(), &raw mut iterations, &raw mut booster) == 0,
                "LightGBM does not load {}",
                model.display()
            );
            let made = init(
                booster,
                LIGHTGBM_RAW,
                0,
                -1,
                LIGHTGBM_F64,
                i32::try_from(width)?,
                ONE_THREAD.as_ptr(),
                &raw mut fast,
            );
            ensure!(made == 0, "LightGBM does not prepare single rows");
            Ok(Self {
                _library: library,
                booster,
                fast,
                single: library.function(c"LGBM_BoosterPredictForMatSingleRowFast")?,
                many: library.function(c"LGBM_BoosterPredictForMat")?,
                width,
            })
        }
    }

    pub(crate) fn margin(&self, row: &[f64]) -> Result<f64> {
        ensure!(row.len() == self.width, "a row of {} values", self.width);
        let (mut count, mut margin) = (0, f64::NAN);
        // SAFETY: the row is as wide as was said when it was prepared; one margin comes back.
        let status =
            unsafe { (self.single)(self.fast, row.as_ptr().cast(), &raw mut count, &raw mut margin) };
        ensure!(status == 0 && count == 1, "LightGBM does not score a row");
        Ok(margin)
    }

    pub(crate) fn margins(&self, rows: &[f64], margins: &mut [f64]) -> Result<()> {
        ensure!(rows.len() == self.width * margins.len(), "as many rows as margins");
        let mut count = 0;
        // SAFETY: as many rows of this width, row after row, and room for as many margins.
        let status = unsafe {
            (self.many)(
                self.booster,
                rows.as_ptr().cast(),
                LIGHTGBM_F64,
                i32::try_from(margins.len())?,
                i32::try_from(self.width)?,
                1,
                LIGHTGBM_RAW,
                0,
                -1,
                ONE_THREAD.as_ptr(),
                &raw mut count,
                margins.as_mut_ptr(),
            )
        };
        ensure!(status == 0 && count == margins.len() as i64, "LightGBM does not score rows");
        Ok(())
    }
}

type Create = unsafe extern "C" fn(*const *mut c_void, u64, *mut *mut c_void) -> c_int;
type Load = unsafe extern "C" fn(*mut c_void, *const c_char) -> c_int;
type SetParameter = unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char) -> c_int;
type FromDense = unsafe extern "C" fn(
    *mut c_void,
    *const c_char,
    *const c_char,
    *mut c_void,
    *mut *const u64,
    *mut u64,
    *mut *const f32,
) -> c_int;

/// A model in XGBoost, asked in place, without a matrix of its own being made first: its fastest way for single rows.
pub(crate) struct XGBoost<'l> {
    _library: &'l Library,
    booster: *mut c_void,
    dense: FromDense,
    width: usize,
    /// How a row is named: the address changes from call to call.
    name: RefCell<String>,
}

const XGBOOST_MARGIN: &CStr =
    c"{\"type\":1,\"training\":false,\"iteration_begin\":0,\"iteration_end\":0,\"strict_shape\":false,\"missing\":NaN}";

impl<'l> XGBoost<'l> {
    pub(crate) fn load(library: &'l Library, model: &Path, width: usize) -> Result<Self> {
        let name = CString::new(model.as_os_str().as_bytes())?;
        // SAFETY: the types are those of XGBoost's c_api.h; all that is pointed to lives as long as the calls.
        unsafe {
            let create: Create = library.function(c"XGBoosterCreate")?;
            let load: Load = library.function(c"XGBoosterLoadModel")?;
            let set: SetParameter = library.function(c"XGBoosterSetParam")?;
            let mut booster = ptr::null_mut();
            ensure!(create(ptr::null(), 0, &raw mut booster) == 0, "XGBoost makes no booster");
            ensure!(load(booster, name.as_ptr()) == 0, "XGBoost does not load {}", model.display());
            ensure!(
                set(booster, c"nthread".as_ptr(), c"1".as_ptr()) == 0,
                "XGBoost does not take one thread"
            );
            let dense = library.function(c"XGBoosterPredictFromDense")?;
            Ok(Self { _library: library, booster, dense, width, name: RefCell::default() })
        }
    }

    pub(crate) fn margin(&self, row: &[f64]) -> Result<f64> {
        let mut margin = [f64::NAN];
        self.margins(row, &mut margin)?;
        Ok(margin[0])
    }

    pub(crate) fn margins(&self, rows: &[f64], margins: &mut [f64]) -> Result<()> {
        use std::fmt::Write as _;
        ensure!(rows.len() == self.width * margins.len(), "as many rows as margins");
        let mut name = self.name.borrow_mut();
        name.clear();
        write!(
            name,
            "{{\"data\":[{},true],\"shape\":[{},{}],\"typestr\":\"<f8\",\"version\":3}}\0",
            rows.as_ptr() as usize,
            margins.len(),
            self.width
        )?;
        let (mut shape, mut dimensions, mut found) = (ptr::null(), 0, ptr::null());
        // SAFETY: the name says where the rows are and how many; both texts end with a zero. What comes back is the booster's
        // own memory, valid until it is asked again.
        let found = unsafe {
            let status = (self.dense)(
                self.booster,
                name.as_ptr().cast(),
                XGBOOST_MARGIN.as_ptr(),
                ptr::null_mut(),
                &raw mut shape,
                &raw mut dimensions,
                &raw mut found,
            );
            ensure!(
                status == 0 && dimensions > 0 && *shape == margins.len() as u64,
                "XGBoost does not score"
            );
            std::slice::from_raw_parts(found, margins.len())
        };
        for (margin, found) in margins.iter_mut().zip(found) {
            *margin = f64::from(*found);
        }
        Ok(())
    }
}
