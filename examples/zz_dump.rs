use spatial_ssrl::{
    frame::*,
    report::contact_sheet::ContactSheet,
    tally::Tally,
    task::{draw::Painter, *},
};
use std::path::Path;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let preset = if a[2] == "published" { Preset::Published } else { Preset::Balanced };
    let out = Path::new(&a[3]);
    std::fs::create_dir_all(out).unwrap();
    let mut files: Vec<_> =
        std::fs::read_dir("/tmp/rgb/frames").unwrap().flatten().map(|e| e.path()).collect();
    files.sort();
    let set = TaskSet::new(preset);
    let mut tally = Tally::default();
    let frame = |i: usize, p: &Path| RgbdFrame {
        id: FrameId(i as u64),
        stamp_ns: i as i64,
        depth_stamp_ns: None,
        color: image::open(p).unwrap().to_rgb8(),
        depth_m: None,
        intrinsics: None,
        registration: Registration::Unregistered,
    };
    if a[1] == "sheets" {
        for kind in set.kinds() {
            let mut s = ContactSheet::new(3);
            for (i, p) in files.iter().enumerate().skip(5).step_by(26) {
                let f = frame(i, p);
                if let Ok(t) =
                    set.make(&PreparedFrame::new(&f, SensorModel::default()), &kind, 1, 0)
                {
                    s.push(&t, &f).unwrap();
                }
            }
            s.image().save(out.join(format!("{kind}.png"))).unwrap();
        }
        return;
    }
    let n: u64 = a[4].parse().unwrap();
    let mut painter = Painter::default();
    let mut lines = String::new();
    for (i, p) in files.iter().enumerate() {
        let f = frame(i, p);
        let prep = PreparedFrame::new(&f, SensorModel::default());
        for k in 0..n {
            match set.make(&prep, &TaskKind::Inpaint, 1, k) {
                Ok(t) => {
                    let pics = painter.pictures(&t, &f).unwrap();
                    for (j, o) in pics[1..].iter().enumerate() {
                        o.save(out.join(format!("{i:04}_{k:02}_{j}.png"))).unwrap();
                    }
                    lines += &format!("{i:04}_{k:02} {} {:?}\n", t.answer, t.recipe);
                }
                Err(e) => tally.add(e.name()),
            }
        }
    }
    std::fs::write(out.join("answers.txt"), lines).unwrap();
    println!("{tally:?}");
}
