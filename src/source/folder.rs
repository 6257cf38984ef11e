//! Folders of pictures: TUM-style with `associations.txt`, `rgb/` beside `depth/`, or both in one
//! folder, told apart by their names.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use self::entries::{COLOR_FOLDERS, Entry, associated, pictures_in, side_by_side, subfolder};
use super::{FrameSource, SourceError, SourceOptions, SourceReport};
use crate::frame::{
    DepthMap, FrameId, Intrinsics, Registration, RgbdFrame, align,
    convert::{color_from_encoded, depth_from_png},
};

pub mod entries;

pub use entries::natural_key;

/// Depth units per metre where nothing else is said, as the TUM data set has it.
const TUM_UNITS_PER_M: f64 = 5000.0;

/// Without a list, a first picture whose middle is nearer than this in TUM's units is taken to be in
/// millimetres: it is then nearer than 3 m.
const LEAST_TUM_DEPTH_M: f32 = 0.6;
const MM_PER_M: f64 = 1000.0;

/// The largest picture file that is read, bytes.
const MAX_PICTURE_BYTES: u64 = 128 << 20;

/// The middle depth of a room or a table; a first picture outside it has likely got the
/// wrong scale.
const USUAL_DEPTH_M: std::ops::Range<f32> = 0.3..10.0;

/// Frames that are looked at to see whether depth is registered to colour, and in which unit it is.
const CHECKED: usize = 24;
/// Edges of registered pictures meet better than shifted ones by at least this many standard
/// deviations. Measured over samples of 12 frames of a recording, or all stills: 0.87 or more with
/// six cameras (0.73 where colour and depth of a fast turn were taken at different times), 0.50 where
/// depth is not registered. Fewer frames say less.
const LEAST_PEAK: f64 = 0.75;

/// Frames of a folder of pictures.
pub struct FolderSource {
    path: PathBuf,
    entries: std::vec::IntoIter<Entry>,
    units_per_m: f64,
    intrinsics: Option<[f64; 4]>,
    registration: Registration,
    /// Depth of another size has been met.
    spread: bool,
    report: SourceReport,
}

/// Whether a folder can be read here.
pub fn is_picture_folder(path: &Path) -> bool {
    path.join("associations.txt").is_file()
        || subfolder(path, COLOR_FOLDERS).is_some()
        || pictures_in(path).is_ok_and(|pictures| !pictures.is_empty())
}

impl FolderSource {
    /// Finds the pictures of the folder at `path` and how they belong together.
    ///
    /// # Errors
    /// When there are none, or it cannot be told which depth belongs to which colour.
    pub fn open(path: &Path, options: &SourceOptions) -> Result<Self, SourceError> {
        let mut report = SourceReport::default();
        let list = path.join("associations.txt");
        let entries = if list.is_file() {
            associated(path, &list, &mut report)?
        } else {
            side_by_side(path, options, &mut report)?
        };
        if entries.is_empty() {
            let why: Vec<String> =
                report.lost.iter().map(|(why, n)| format!("{why}: {n}")).collect();
            let why = format!("no picture could be found ({})", why.join(", "));
            return Err(SourceError::Nothing { path: path.to_owned(), why });
        }
        let has_depth = entries.iter().any(|entry| entry.depth.is_some());
        let depth_folder = entries
            .iter()
            .find_map(|entry| entry.depth.as_ref()?.1.parent()?.file_name()?.to_str())
            .unwrap_or_default()
            .to_owned();
        let named = units_in_name(&depth_folder);
        if let (None, Some(units)) = (options.depth_scale, named) {
            report.notes.push(format!(
                "depth has {units} units per metre: the folder is named {depth_folder:?}"
            ));
        }
        let units_per_m = options.depth_scale.or(named);
        let registration = match options.registered {
            Some(false) => Registration::Unregistered,
            _ => Registration::Registered,
        };
        report.registration = Some(match (has_depth, options.registered) {
            (false, _) => "there is no depth".to_owned(),
            (_, Some(true)) => "registered: the user says so".to_owned(),
            (_, Some(false)) => "not registered: the user says so".to_owned(),
            (_, None) => "taken as registered, as folders of this kind are".to_owned(),
        });
        let mut source = FolderSource {
            path: path.to_owned(),
            entries: entries.into_iter(),
            units_per_m: units_per_m.unwrap_or(TUM_UNITS_PER_M),
            intrinsics: options.intrinsics,
            registration,
            spread: false,
            report,
        };
        if units_per_m.is_none() {
            source.assume_units(list.is_file());
        }
        if options.registered.is_none() {
            source.check_registration();
        }
        Ok(source)
    }

    /// Looks at a few frames spread over the folder: nothing else tells whether depth lies where
    /// colour does.
    fn check_registration(&mut self) {
        let with_depth: Vec<&Entry> =
            self.entries.as_slice().iter().filter(|entry| entry.depth.is_some()).collect();
        let count = with_depth.len().min(CHECKED);
        let frames = (0..count).filter_map(|i| {
            let Entry { color, depth, stamp_ns } = with_depth[i * with_depth.len() / count];
            let color = color_from_encoded(&read_picture(color).ok()?).ok()?;
            let depth_m = spread(self.depth(&depth.as_ref()?.1).ok()?, color.dimensions());
            Some(RgbdFrame {
                id: FrameId::from_stamp(*stamp_ns),
                stamp_ns: *stamp_ns,
                depth_stamp_ns: None,
                color,
                depth_m: Some(depth_m),
                intrinsics: None,
                // Compared as if it were.
                registration: Registration::Registered,
            })
        });
        let Some(alignment) = align::over_frames(frames) else { return };
        let (as_is, shifted) = (alignment.means[0], alignment.middle);
        let evidence = format!(
            "edges of depth meet edges of colour with score {as_is:.2} as they are and {shifted:.2} \
             +- {:.2} when shifted",
            alignment.deviation
        );
        self.report.registration = Some(match alignment.peak() < LEAST_PEAK {
            true => {
                self.registration = Registration::Unregistered;
                format!("not registered: {evidence} (--registered yes, if it is)")
            }
            false => format!("registered: {evidence}"),
        });
    }

    /// Where nothing says the unit of depth it is TUM's, or millimetres if TUM's puts the first scene
    /// right before the camera. A list of associations is TUM's own form.
    fn assume_units(&mut self, listed: bool) {
        let depths = self.entries.as_slice().iter().filter_map(|entry| entry.depth.as_ref());
        let median = depths.take(CHECKED).find_map(|(_, path)| {
            let depth_m = self.depth(path).ok()?;
            let mut valid: Vec<f32> = depth_m.into_iter().filter(|z_m| z_m.is_finite()).collect();
            let middle = valid.len() / 2;
            (!valid.is_empty()).then(|| *valid.select_nth_unstable_by(middle, f32::total_cmp).1)
        });
        let Some(median_m) = median else { return };
        self.report.notes.push(if !listed && median_m < LEAST_TUM_DEPTH_M {
            self.units_per_m = MM_PER_M;
            format!(
                "depth is taken to be in millimetres: with the {TUM_UNITS_PER_M} units per metre of \
                 TUM the first picture's middle depth would be {median_m:.2} m (--depth-scale \
                 overrules)"
            )
        } else {
            let seems = match USUAL_DEPTH_M.contains(&median_m) {
                true => "",
                false => ": is that right",
            };
            format!(
                "depth is taken to have {TUM_UNITS_PER_M} units per metre as TUM has it; the first \
                 picture's middle depth is then {median_m:.2} m{seems} (--depth-scale 1000 says \
                 millimetres)"
            )
        });
    }

    fn depth(&self, path: &Path) -> Result<DepthMap, &'static str> {
        let bytes = read_picture(path)?;
        depth_from_png(&bytes, self.units_per_m).map_err(|error| {
            tracing::debug!(%error, path = %path.display(), "depth picture");
            error.name()
        })
    }

    fn frame(&mut self, entry: &Entry) -> Result<RgbdFrame, &'static str> {
        let bytes = read_picture(&entry.color)?;
        let color = color_from_encoded(&bytes).map_err(|error| {
            tracing::debug!(%error, path = %entry.color.display(), "colour picture");
            error.name()
        })?;
        self.report.color_read += 1;
        let mut depth_m = None;
        if let Some((_, path)) = &entry.depth {
            match self.depth(path) {
                Ok(depth) => {
                    self.report.depth_read += 1;
                    depth_m = Some(depth);
                }
                // It is still a colour picture.
                Err(why) => self.report.lost.add(why),
            }
        }
        let (width, height) = color.dimensions();
        let wanted = (height as usize, width as usize);
        let (rows, cols) = depth_m.as_ref().map_or(wanted, DepthMap::dim);
        let depth_m = depth_m.map(|depth_m| spread(depth_m, (width, height)));
        let same_size = depth_m.as_ref().is_none_or(|depth_m| depth_m.dim() == wanted);
        if !same_size && self.registration == Registration::Registered {
            self.report.registration =
                Some(format!("not registered: colour is {width}x{height}, depth {cols}x{rows}"));
        }
        if same_size && (rows, cols) != wanted && !self.spread {
            self.spread = true;
            self.report.notes.push(format!(
                "depth of {cols}x{rows} is spread over the {width}x{height} pixels of colour: both \
                 have the same shape"
            ));
        }
        let intrinsics = self
            .intrinsics
            .and_then(|[fx, fy, cx, cy]| Intrinsics::new(width, height, fx, fy, cx, cy).ok());
        self.report.intrinsics = self.report.intrinsics.or(intrinsics);
        Ok(RgbdFrame {
            id: FrameId::from_stamp(entry.stamp_ns),
            stamp_ns: entry.stamp_ns,
            depth_stamp_ns: entry.depth.as_ref().filter(|_| depth_m.is_some()).and_then(|d| d.0),
            color,
            depth_m,
            intrinsics,
            registration: if same_size { self.registration } else { Registration::Unregistered },
        })
    }
}

impl FrameSource for FolderSource {
    fn next_frame(&mut self) -> Result<Option<RgbdFrame>, SourceError> {
        while let Some(entry) = self.entries.next() {
            match self.frame(&entry) {
                Ok(frame) => {
                    self.report.frames += 1;
                    let stamp = frame.stamp_ns;
                    let (first, last) = self.report.stamps_ns.unwrap_or((stamp, stamp));
                    self.report.stamps_ns = Some((first.min(stamp), last.max(stamp)));
                    return Ok(Some(frame));
                }
                Err(why) => self.report.lost.add(why),
            }
        }
        match self.report.no_frame_left() {
            Some(why) => Err(SourceError::Nothing { path: self.path.clone(), why }),
            None => Ok(None),
        }
    }

    fn report(&self) -> &SourceReport {
        &self.report
    }
}

/// Depth at the size of colour, the nearest reading for each pixel, if both have the same shape: depth
/// cameras with few pixels are stored so beside large pictures (ScanNet, ARKit). Whether it lies where
/// colour does, edges tell.
fn spread(depth_m: DepthMap, (width, height): (u32, u32)) -> DepthMap {
    let (rows, cols) = depth_m.dim();
    let (height, width) = (height as usize, width as usize);
    if (rows, cols) == (height, width)
        || (rows * width).abs_diff(cols * height) * 100 > rows * width
    {
        return depth_m;
    }
    // The middle of each pixel.
    let at = |place: usize, few: usize, many: usize| (2 * place + 1) * few / (2 * many);
    DepthMap::from_shape_fn((height, width), |(row, col)| {
        depth_m[[at(row, rows, height), at(col, cols, width)]]
    })
}

fn read_picture(path: &Path) -> Result<Vec<u8>, &'static str> {
    let file = fs::File::open(path).map_err(|_| "file_missing")?;
    let len = file.metadata().map_err(|_| "file_unreadable")?.len();
    if len > MAX_PICTURE_BYTES {
        return Err("picture_too_large");
    }
    let mut bytes = Vec::with_capacity(len as usize);
    file.take(MAX_PICTURE_BYTES).read_to_end(&mut bytes).map_err(|_| "file_unreadable")?;
    Ok(bytes)
}

/// Units per metre of a folder named `depth_0.1mm` or `depth_mm`.
fn units_in_name(folder: &str) -> Option<f64> {
    let unit = folder.split('_').skip(1).find_map(|part| part.strip_suffix("mm"))?;
    let mm: f64 = if unit.is_empty() { 1.0 } else { unit.parse().ok()? };
    (mm > 0.0 && mm.is_finite()).then(|| 1000.0 / mm)
}

#[cfg(test)]
mod tests {
    use super::{
        entries::{NUMBERED_STEP_NS, stamp_ns},
        *,
    };

    #[test]
    fn stamps_are_read_to_the_nanosecond() {
        assert_eq!(stamp_ns("1305031229.528748"), Some(1_305_031_229_528_748_000));
        assert_eq!(stamp_ns("7"), Some(7_000_000_000));
        assert_eq!(stamp_ns("1.0000000019"), Some(1_000_000_001));
        for bad in ["", ".5", "-1.0", "1e9", "a", "99999999999999999999"] {
            assert_eq!(stamp_ns(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_unit_in_a_folders_name_is_understood() {
        assert_eq!(units_in_name("depth_0.1mm"), Some(10_000.0));
        assert_eq!(units_in_name("depth_mm"), Some(1000.0));
        assert_eq!(units_in_name("depth"), None);
        assert_eq!(units_in_name("depth_0mm"), None);
    }

    #[test]
    fn names_sort_by_their_numbers() {
        let mut names = ["b_10.db3", "b_2.db3", "b_0.db3"].map(PathBuf::from);
        names.sort_by_cached_key(|path| natural_key(path));
        assert_eq!(names, ["b_0.db3", "b_2.db3", "b_10.db3"].map(PathBuf::from));
    }

    /// A folder with tiny pictures of the given names.
    fn folder(colors: &[&str], depths: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("rgb")).unwrap();
        fs::create_dir(dir.path().join("depth")).unwrap();
        for name in colors {
            let picture = image::RgbImage::from_pixel(4, 3, image::Rgb([1, 2, 3]));
            picture.save(dir.path().join("rgb").join(name)).unwrap();
        }
        for name in depths {
            let depth = image::ImageBuffer::from_pixel(4, 3, image::Luma([5000_u16]));
            depth.save(dir.path().join("depth").join(name)).unwrap();
        }
        dir
    }

    fn all(dir: &Path, options: &SourceOptions) -> (Vec<RgbdFrame>, SourceReport) {
        let mut source = FolderSource::open(dir, options).unwrap();
        let mut frames = Vec::new();
        while let Some(frame) = source.next_frame().unwrap() {
            frames.push(frame);
        }
        (frames, source.report().clone())
    }

    #[test]
    fn associations_are_read_in_either_order_and_cannot_lead_out() {
        let dir = folder(&["1.0.png", "2.0.png"], &["1.1.png", "2.1.png"]);
        let list = "# colour depth\n1.0 rgb/1.0.png 1.1 depth/1.1.png\n\n\
                    2.1 depth/2.1.png 2.0 rgb/2.0.png\n\
                    3.0 ../rgb/1.0.png 3.0 depth/1.1.png\n\
                    4.0 /etc/passwd 4.0 depth/1.1.png\n\
                    5.0 rgb/none.png 5.0 depth/1.1.png\n\
                    nonsense\n";
        fs::write(dir.path().join("associations.txt"), list).unwrap();
        let options =
            SourceOptions { intrinsics: Some([5.0, 5.0, 1.5, 1.0]), ..SourceOptions::default() };
        let (frames, report) = all(dir.path(), &options);
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[1].stamp_ns, 2_000_000_000);
        assert_eq!(frames[1].depth_stamp_ns, Some(2_100_000_000));
        assert_eq!(frames[1].depth_m.as_ref().unwrap()[[0, 0]], 1.0);
        assert_eq!(frames[1].intrinsics.unwrap().fx, 5.0);
        assert_eq!(report.lost.get("path_outside_folder"), 2);
        assert_eq!(report.lost.get("bad_line"), 1);
        assert_eq!(report.lost.get("file_missing"), 1);
    }

    #[test]
    fn without_a_list_names_then_stamps_then_order_decide() {
        let options = SourceOptions { depth_scale: Some(1000.0), ..SourceOptions::default() };
        let said = |report: &SourceReport, text: &str| {
            assert!(report.notes.iter().any(|note| note.contains(text)), "{:?}", report.notes);
        };
        let same = folder(&["0001.png", "0002.png", "0003.png"], &["0001.png", "0003.png"]);
        let (frames, report) = all(same.path(), &options);
        assert_eq!(
            frames.iter().map(|f| f.stamp_ns / NUMBERED_STEP_NS).collect::<Vec<_>>(),
            [1, 3]
        );
        assert_eq!(frames[0].depth_m.as_ref().unwrap()[[0, 0]], 5.0);
        assert_eq!(report.unpaired.get("no_depth_of_that_name"), 1);
        said(&report, "same name");

        let stamps = folder(&["1.000.png", "1.033.png"], &["1.005.png", "1.500.png"]);
        let (frames, report) = all(stamps.path(), &options);
        assert_eq!(frames.len(), 1);
        assert_eq!(report.unpaired.total(), 2);
        said(&report, "nearest stamps");

        let words = folder(&["color_7.png", "color_9.png"], &["depth_9.png", "depth_10.png"]);
        let (frames, report) = all(words.path(), &options);
        assert_eq!(frames.len(), 1, "7 and 10 are not one moment");
        assert_eq!(frames[0].stamp_ns, 9 * NUMBERED_STEP_NS);
        assert_eq!(report.unpaired.get("no_depth_of_that_name"), 1);
        assert_eq!(report.unpaired.get("no_colour_of_that_name"), 1);

        let order = folder(&["a1.png", "a2.png"], &["b10.png", "b9.png"]);
        let (frames, report) = all(order.path(), &options);
        assert_eq!(frames.len(), 2);
        said(&report, "order of names");

        let hopeless = folder(&["a1.png", "a2.png"], &["b1.png"]);
        assert!(FolderSource::open(hopeless.path(), &options).is_err());

        let broken = folder(&["a1.png"], &["a1.png"]);
        fs::write(broken.path().join("rgb/a1.png"), "no picture").unwrap();
        let mut source = FolderSource::open(broken.path(), &options).unwrap();
        let error = source.next_frame().unwrap_err().to_string();
        assert!(error.contains("no frame is left: neither_jpeg_nor_png 1"), "{error}");

        let alone = folder(&["a1.png"], &[]);
        assert!(all(alone.path(), &options).0[0].depth_m.is_none());
    }

    #[test]
    fn millimetres_are_told_from_tums_units_unless_a_list_or_the_user_says() {
        let of = |list: bool, depth_scale: Option<f64>, units: u16| {
            let dir = folder(&["1.png"], &["1.png"]);
            let depth = image::ImageBuffer::from_pixel(4, 3, image::Luma([units]));
            depth.save(dir.path().join("depth/1.png")).unwrap();
            if list {
                let list = dir.path().join("associations.txt");
                fs::write(list, "1 rgb/1.png 1 depth/1.png").unwrap();
            }
            let (frames, report) =
                all(dir.path(), &SourceOptions { depth_scale, ..SourceOptions::default() });
            (frames[0].depth_m.as_ref().unwrap()[[0, 0]], report.notes)
        };
        assert_eq!(of(false, None, 1500).0, 1.5);
        assert!(of(false, None, 1500).1.iter().any(|note| note.contains("would be 0.30 m")));
        assert_eq!(of(false, None, 5000).0, 1.0);
        assert_eq!(of(true, None, 1500).0, 0.3);
        assert_eq!(of(false, Some(5000.0), 1500).0, 0.3);
        assert_eq!(of(false, Some(10_000.0), 1500).0, 0.15);

        // A first picture without depth says nothing, the next one does.
        let dir = folder(&["1.png", "2.png"], &["1.png", "2.png"]);
        for (name, units) in [("1.png", 0_u16), ("2.png", 1500)] {
            let depth = image::ImageBuffer::from_pixel(4, 3, image::Luma([units]));
            depth.save(dir.path().join("depth").join(name)).unwrap();
        }
        let (frames, _) = all(dir.path(), &SourceOptions::default());
        assert_eq!(frames[1].depth_m.as_ref().unwrap()[[0, 0]], 1.5);
    }

    #[test]
    fn small_depth_of_the_same_shape_is_spread_over_colour() {
        let depth_m = DepthMap::from_shape_fn((3, 4), |(row, col)| (10 * row + col) as f32);
        let large = spread(depth_m.clone(), (8, 6));
        assert!(large.indexed_iter().all(|((row, col), z)| *z == depth_m[[row / 2, col / 2]]));
        assert_eq!(spread(large, (4, 3)).dim(), (3, 4));
        // ScanNet's 1296x968 beside 640x480, 0.4 % of another shape; a wider picture is not its.
        let depth_m = DepthMap::zeros((480, 640));
        assert_eq!(spread(depth_m.clone(), (1296, 968)).dim(), (968, 1296));
        assert_eq!(spread(depth_m, (1280, 720)).dim(), (480, 640));
    }

    #[test]
    fn depth_beside_colour_in_one_folder_is_depth_and_never_a_picture() {
        let options = SourceOptions { depth_scale: Some(1000.0), ..SourceOptions::default() };
        for (color, depth) in [
            ("frame-000003.color.png", "frame-000003.depth.png"),
            ("000003-color.png", "000003-depth.png"),
            ("rgb_3.png", "depth_3.png"),
            ("Kitchen_colors.png", "Kitchen_depth.png"),
            ("3.png", "3_depth.png"),
        ] {
            let dir = folder(&[color], &[depth]);
            for (place, name) in [("rgb", color), ("depth", depth)] {
                fs::rename(dir.path().join(place).join(name), dir.path().join(name)).unwrap();
                fs::remove_dir(dir.path().join(place)).unwrap();
            }
            let (frames, _) = all(dir.path(), &options);
            assert_eq!(frames.len(), 1, "{color}");
            let number = if color.contains('3') { 3 } else { 0 };
            assert_eq!(frames[0].stamp_ns, number * NUMBERED_STEP_NS, "{color}");
            assert_eq!(frames[0].depth_m.as_ref().unwrap()[[0, 0]], 5.0, "{color}");

            fs::remove_file(dir.path().join(color)).unwrap();
            let error = FolderSource::open(dir.path(), &options).err().unwrap().to_string();
            assert!(error.contains("0 colour and 1 depth pictures"), "{error}");
        }
    }
}
