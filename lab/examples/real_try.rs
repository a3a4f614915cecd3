use std::time::{Duration, Instant};
use maybetun_lab::real::{Run, session};
use maybetun_lab::study::Defense;
use maybetun_lab::workload::{self, Access, Site};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let access = Access { loss: args.get(3).map_or(0.0, |s| s.parse().unwrap()), ..Access::default() };
    let defense = Defense::parse(args.get(1).map_or("none", |s| s)).unwrap();
    let n: u64 = args.get(2).map_or(4, |s| s.parse().unwrap());
    let program = std::path::Path::new("target/release/maybetun");
    let begin = Instant::now();
    let run = Run { program, access: &access, defense: &defense, seed: 1, longest: Duration::from_secs(60), after: Duration::from_secs(1) };
    let loads = session(&run, |session| {
        eprintln!("ready after {:?}", begin.elapsed());
        (0..n).map(|site| session.load(Site::generate(site).visit(1))).collect::<Result<Vec<_>, _>>()
    }).unwrap();
    eprintln!("over after {:?}", begin.elapsed());
    let count = |load: &workload::Load| (load.trace.iter().filter(|p| p.from == maybetun_lab::tunnels::client(0)).count(), load.trace.iter().filter(|p| p.from != maybetun_lab::tunnels::client(0)).count());
    for (site, load) in loads.iter().enumerate() {
        let mut run = workload::Run::new(&access, None, 1);
        run.after = Duration::from_secs(1);
        run.defense = defense.both();
        let v = workload::run(Site::generate(site as u64).visit(1), &run);
        if args.get(4).is_some() {
            for (name, l) in [("real", load), ("virt", &v)] {
                println!("{name}: {}", l.trace.iter().map(|p| format!("{}{}@{:.1}", if p.from == maybetun_lab::tunnels::client(0) {"+"} else {"-"}, p.size, p.at.as_secs_f64()*1e3)).collect::<Vec<_>>().join(" "));
            }
        }
        println!("{site}: real {:?} up {} down {} {:?} wake {} cpu {:?} | virtual {:?} up {} down {} {:?} wake {}", load.time, load.up, load.down, count(load), load.effort.wakeups, load.effort.cpu, v.time, v.up, v.down, count(&v), v.effort.wakeups);
    }
}
