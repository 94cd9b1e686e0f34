//! Faults of a kernel, caught by signal and turned into the end of its fiber.
//!
//! The handler does nothing but point the interrupted thread at a function that
//! returns the fault from the fiber. Faults elsewhere go to whoever handled them before.

use std::cell::Cell;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

use corosensei::trap::CoroutineTrapHandler;

/// A signal that stopped a fiber.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trap {
    pub signal: c_int,
    /// The address that was accessed; 0 where the processor does not tell.
    pub address: usize,
    /// Whether that address belongs to the fiber's own stack or its guard page.
    pub on_stack: bool,
}

const SIGNALS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];

thread_local! {
    /// The fiber that runs on this thread.
    static RUNNING: Cell<Option<CoroutineTrapHandler<Option<Trap>>>> = const { Cell::new(None) };
}

/// Who handled each of [`SIGNALS`] before.
static BEFORE: OnceLock<[libc::sigaction; 4]> = OnceLock::new();

/// Takes the signals, once.
pub(super) fn install() {
    BEFORE.get_or_init(|| {
        SIGNALS.map(|signal| {
            let mut before = MaybeUninit::<libc::sigaction>::zeroed();
            // SAFETY: all-zero bytes are a valid sigaction; the handler has SA_SIGINFO's signature and
            // runs on the alternate stack that Rust gives each of its threads.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = handle as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigemptyset(&mut action.sa_mask);
                libc::sigaction(signal, &action, before.as_mut_ptr());
                before.assume_init()
            }
        })
    });
}

/// While this stands, faults of the fiber end it.
pub(super) struct Armed;

pub(super) fn arm(handler: CoroutineTrapHandler<Option<Trap>>) -> Armed {
    RUNNING.set(Some(handler));
    Armed
}

impl Drop for Armed {
    fn drop(&mut self) {
        RUNNING.set(None);
    }
}

/// The signal handler.
unsafe extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut libc::ucontext_t) {
    // SAFETY: the kernel passes valid pointers to a handler with SA_SIGINFO.
    let (info, context) = unsafe { (&mut *info, &mut *context) };
    let Some(fiber) = RUNNING.get().filter(|f| f.stack_ptr_in_bounds(stack_pointer(context))) else {
        return pass_on(signal, info, context);
    };
    // SAFETY: si_addr is set for these signals, and a plain number for software's own.
    let address = unsafe { info.si_addr() } as usize;
    let trap = Trap { signal, address, on_stack: fiber.stack_ptr_in_bounds(address) };
    // SAFETY: the stack pointer lies in the fiber, which will not run on: its frames are C++
    // without destructors, or hooks that hold nothing across an access to kernel memory.
    let registers = unsafe { fiber.setup_trap_handler(move || Some(trap)) };
    set_registers(context, &registers);
}

fn pass_on(signal: c_int, info: &mut libc::siginfo_t, context: &mut libc::ucontext_t) {
    let before = SIGNALS.iter().position(|&s| s == signal).zip(BEFORE.get()).map(|(i, before)| before[i]);
    // SAFETY: calls what stood there before, with the signature its flags tell, or leaves the
    // signal to the system, which sends it again when this handler returns.
    unsafe {
        match before {
            Some(action) if action.sa_flags & libc::SA_SIGINFO != 0 && action.sa_sigaction > libc::SIG_IGN => {
                let handler: unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut libc::ucontext_t) =
                    std::mem::transmute(action.sa_sigaction);
                handler(signal, info, context);
            }
            _ => {
                let mut default: libc::sigaction = std::mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &default, ptr::null_mut());
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod registers {
    use corosensei::trap::TrapHandlerRegs;

    pub fn stack_pointer(context: &libc::ucontext_t) -> usize {
        context.uc_mcontext.gregs[libc::REG_RSP as usize] as usize
    }

    pub fn set_registers(context: &mut libc::ucontext_t, to: &TrapHandlerRegs) {
        let at = &mut context.uc_mcontext.gregs;
        at[libc::REG_RIP as usize] = to.rip as i64;
        at[libc::REG_RSP as usize] = to.rsp as i64;
        at[libc::REG_RBP as usize] = to.rbp as i64;
        at[libc::REG_RDI as usize] = to.rdi as i64;
        at[libc::REG_RSI as usize] = to.rsi as i64;
    }
}

#[cfg(target_arch = "aarch64")]
mod registers {
    use corosensei::trap::TrapHandlerRegs;

    pub fn stack_pointer(context: &libc::ucontext_t) -> usize {
        context.uc_mcontext.sp as usize
    }

    pub fn set_registers(context: &mut libc::ucontext_t, to: &TrapHandlerRegs) {
        let at = &mut context.uc_mcontext;
        at.pc = to.pc;
        at.sp = to.sp;
        at.regs[0] = to.x0;
        at.regs[1] = to.x1;
        at.regs[29] = to.x29;
        at.regs[30] = to.lr;
    }
}

use registers::{set_registers, stack_pointer};
