//! What this process took: memory and processor time. Both are Linux' to tell, in `/proc`.

/// The kernel counts processor time in these, whatever its own clock: USER_HZ.
const TICKS_PER_SECOND: f64 = 100.0;

/// The most bytes that were resident at any time so far, data, code and libraries
/// together; `None` where the system does not tell.
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    peak_of(&status)
}

/// `VmHWM:   1234 kB` of a `/proc/PID/status`, in bytes; the kernel's kB are 1024.
fn peak_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Seconds of processor time so far, all threads together, to a hundredth; `None`
/// where the system does not tell. Unlike the clock's, they hardly grow when
/// other processes take their turns.
pub fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    cpu_of(&stat)
}

/// utime + stime, fields 14 and 15 of a `/proc/PID/stat`. The second, the name in
/// parentheses, may hold anything, so counting begins behind it.
fn cpu_of(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_user_and_system_time() {
        let stat = "77 (a) b) R 1 77 77 0 -1 4194304 100 0 0 0 250 31 0 0 20 0 1 0 5000 9 9\n";
        assert_eq!(cpu_of(stat), Some(2.81));
        assert_eq!(cpu_of("77 (zfnet) R 1"), None);
    }

    #[test]
    fn reads_the_high_water_mark() {
        assert_eq!(peak_of("Name:\tzfnet\nVmPeak:\t  9000 kB\nVmHWM:\t    1234 kB\n"), Some(1234 * 1024));
        assert_eq!(peak_of("Name:\tzfnet\n"), None);
    }
}
