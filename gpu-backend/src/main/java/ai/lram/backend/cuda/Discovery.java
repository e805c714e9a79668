package ai.lram.backend.cuda;

import ai.lram.backend.BackendException;
import ai.lram.backend.cuda.Diagnosis.Cause;
import ai.lram.backend.cuda.Diagnosis.Fact;
import ai.lram.backend.cuda.Machine.Node;
import ai.lram.backend.cuda.Machine.Opened;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Supplier;
import java.util.stream.Collectors;

/**
 * Finds out, step by step and without side effects beyond loading libraries, whether a CUDA device can be used, and if not why. The bindings
 * are touched only after the libraries they need are open: a failed load of theirs cannot be repeated in the same process.
 */
final class Discovery {
    /** Oldest driver: that of CUDA 13.0. */
    static final int DRIVER = 13000;

    static final int LIBRARIES = 13;

    /** Oldest compute capability: kernels use asynchronous copies and bf16 of 8.0. */
    static final int CAPABILITY = 80;

    /** Free device memory below which opening an engine makes no sense: its own work space and the smallest model. */
    static final long LEAST_FREE_BYTES = 512L << 20;

    /** The three libraries' entry points; creating one loads the bindings. */
    record Libraries(Supplier<Driver> driver, Supplier<Nvrtc> nvrtc, Supplier<CublasLt> cublasLt) {
        static Libraries real() {
            return new Libraries(JavaCppDriver::new, JavaCppNvrtc::new, JavaCppCublasLt::new);
        }
    }

    private static final Runnable NOTHING = () -> {};

    private final Machine machine;
    private final Libraries libraries;
    private final String system;
    private Driver found;
    private final List<Fact> facts = new ArrayList<>();
    private final Map<Library, Opened> open = new EnumMap<>(Library.class);

    Discovery(Machine machine, Libraries libraries, String system) {
        this.machine = machine;
        this.libraries = libraries;
        this.system = system;
    }

    private static final class Refusal extends Exception {
        private static final long serialVersionUID = 1L;
        private final Cause kind;
        private final String fix;

        Refusal(Cause kind, String why, String fix) {
            super(why);
            this.kind = kind;
            this.fix = fix;
        }
    }

    /** @return where usable, with the device's primary context held until {@link Diagnosis#release}: creating it takes half a second */
    Diagnosis run(int ordinal) {
        try {
            Device device = find(ordinal);
            Driver driver = found;
            AtomicBoolean held = new AtomicBoolean(true);
            return new Diagnosis(Cause.NONE, "", "", facts, device, () -> {
                if (held.getAndSet(false)) {
                    driver.releasePrimaryContext(device.handle());
                }
            });
        } catch (Refusal r) {
            return new Diagnosis(r.kind, r.getMessage(), r.fix, facts, null, NOTHING);
        } catch (BackendException e) {
            return new Diagnosis(
                    Cause.DRIVER_FAILED,
                    e.getMessage(),
                    "look at the kernel log (dmesg), then restart",
                    facts,
                    null,
                    NOTHING);
        }
    }

    private Device find(int ordinal) throws Refusal {
        if (!system.startsWith("Linux")) {
            throw new Refusal(
                    Cause.NOT_LINUX,
                    "the CUDA engine runs on Linux, this is " + system,
                    "choose device=cpu here, or run on Linux with an NVIDIA GPU");
        }
        machine.kernelModule().ifPresent(v -> fact("kernel module", v));
        openDriver();
        openToolkit();
        found = bindings();
        initialise(found);
        Device device = device(found, ordinal);
        versions(device);
        memory(found, device);
        return device;
    }

    private void fact(String name, String value) {
        facts.add(new Fact(name, value));
    }

    private void openDriver() throws Refusal {
        Opened o = machine.open(Library.DRIVER.file());
        if (!o.isOpen()) {
            boolean nodes = !machine.nodes().isEmpty();
            throw new Refusal(
                    Cause.NO_DRIVER,
                    "no NVIDIA driver: " + o.failure(),
                    nodes
                            ? "the device nodes are there but the driver's library is not: in a container, give it the"
                                    + " driver (docker run --gpus all); else install the driver's user-space part"
                            : "install the NVIDIA driver 580 or newer (Debian, Ubuntu: apt-get install nvidia-driver; in a"
                                    + " container: docker run --gpus all), or choose device=cpu");
        }
        open.put(Library.DRIVER, o);
        fact(Library.DRIVER.file(), machine.pathOf(Library.DRIVER.file()).orElse("open"));
        requireSymbols(
                Library.DRIVER,
                Cause.DRIVER_TOO_OLD,
                "the driver is older than CUDA " + Device.version(DRIVER),
                "install the NVIDIA driver 580 or newer");
    }

    private void openToolkit() throws Refusal {
        for (Library library : Library.values()) {
            if (library == Library.DRIVER) {
                continue;
            }
            Opened o = machine.open(library.file());
            if (!o.isOpen()) {
                throw missing(library, o);
            }
            open.put(library, o);
            fact(library.file(), machine.pathOf(library.file()).orElse("open"));
            requireSymbols(
                    library,
                    Cause.LIBRARY_TOO_OLD,
                    library.file() + " is older than CUDA 13.0",
                    "install the CUDA toolkit 13.0 or newer of the 13 line");
        }
    }

    private Refusal missing(Library library, Opened failure) {
        for (int other : new int[] {12, 11, 14}) {
            Opened o = machine.open(library.file(other));
            if (o.isOpen()) {
                return new Refusal(
                        Cause.LIBRARY_VERSION,
                        library.file(other) + " is there, " + library.file() + " is not: " + failure.failure(),
                        "install " + library.origin()
                                + " beside the other version, or put its folder on LD_LIBRARY_PATH");
            }
        }
        return new Refusal(
                Cause.LIBRARY_MISSING,
                library.file() + " is missing: " + failure.failure(),
                "install " + library.origin() + ", or name its folder with LD_LIBRARY_PATH or -D"
                        + LinuxMachine.LIBRARY_PATH);
    }

    private void requireSymbols(Library library, Cause cause, String what, String fix) throws Refusal {
        List<String> missing = new ArrayList<>();
        for (EntryPoint p : EntryPoint.values()) {
            if (p.library() == library && !machine.has(open.get(library), p.symbol())) {
                missing.add(p.symbol());
            }
        }
        if (!missing.isEmpty()) {
            throw new Refusal(cause, what + ": it lacks " + String.join(", ", missing), fix);
        }
    }

    private Driver bindings() throws Refusal {
        try {
            return libraries.driver().get();
        } catch (LinkageError e) {
            throw new Refusal(
                    Cause.BINDINGS,
                    "the Java bindings of CUDA do not load: " + e.getMessage(),
                    "check that org.bytedeco:cuda has natives for this platform and that the JavaCPP cache folder"
                            + " (-Dorg.bytedeco.javacpp.cachedir) can be written");
        }
    }

    private void initialise(Driver driver) throws Refusal {
        int status = driver.init();
        int[] version = new int[1];
        if (driver.driverVersion(version) == Driver.SUCCESS && version[0] > 0) {
            fact("driver", "speaks CUDA " + Device.version(version[0]));
            if (version[0] < DRIVER) {
                throw new Refusal(
                        Cause.DRIVER_TOO_OLD,
                        "the driver speaks CUDA " + Device.version(version[0]) + ", " + Device.version(DRIVER)
                                + " is needed",
                        "install the NVIDIA driver 580 or newer");
            }
        }
        if (status != Driver.SUCCESS) {
            throw initialisation(driver, status);
        }
    }

    private Refusal initialisation(Driver driver, int status) {
        String answer = driver.statusName(status) + " (" + status + ")";
        List<Node> closed = machine.nodes().stream().filter(n -> !n.usable()).toList();
        if (!closed.isEmpty()) {
            return new Refusal(
                    Cause.NO_PERMISSION,
                    "no permission on "
                            + closed.stream().map(Node::path).collect(Collectors.joining(", ")) + "; the driver says "
                            + answer,
                    "add the user to the group that owns these nodes (ls -l /dev/nvidia*; often video or render), or start"
                            + " the container with the devices");
        }
        return switch (status) {
            case Status.NO_DEVICE -> noDevice(answer);
            case Status.INSUFFICIENT_DRIVER ->
                new Refusal(
                        Cause.DRIVER_TOO_OLD,
                        "the driver is too old for its library: " + answer,
                        "install the NVIDIA driver 580 or newer");
            case Status.DRIVER_MISMATCH, Status.COMPAT_NOT_SUPPORTED ->
                new Refusal(
                        Cause.DRIVER_MISMATCH,
                        "the driver's library and the kernel module"
                                + machine.kernelModule()
                                        .map(v -> " (" + v + ")")
                                        .orElse("")
                                + " are of different versions: " + answer,
                        "restart the machine after the driver's update, or take the compat folder out of"
                                + " LD_LIBRARY_PATH");
            case Status.STUB_LIBRARY ->
                new Refusal(
                        Cause.NO_DRIVER,
                        "libcuda.so.1 is the toolkit's stub, not a driver: " + answer,
                        "take the stubs folder out of LD_LIBRARY_PATH and install the NVIDIA driver 580 or newer");
            case Status.SYSTEM_NOT_READY, Status.DEVICE_UNAVAILABLE ->
                new Refusal(
                        Cause.DRIVER_NOT_READY,
                        "the device is not ready: " + answer,
                        "wait for, or start, the NVIDIA services (nvidia-fabricmanager, nvidia-persistenced)");
            default ->
                new Refusal(
                        Cause.DRIVER_FAILED,
                        "the driver cannot be initialised: " + answer,
                        "load the kernel modules nvidia and nvidia_uvm (nvidia-smi shows whether they work); look at"
                                + " dmesg");
        };
    }

    private Refusal noDevice(String answer) {
        String visible = machine.environment("CUDA_VISIBLE_DEVICES");
        if (visible != null) {
            return new Refusal(
                    Cause.DEVICES_HIDDEN,
                    "CUDA_VISIBLE_DEVICES=\"" + visible + "\" hides every device: " + answer,
                    "unset CUDA_VISIBLE_DEVICES, or name a device in it");
        }
        return new Refusal(
                Cause.NO_DEVICE,
                "the driver finds no NVIDIA GPU: " + answer,
                "check with nvidia-smi or lspci that one is there; in a container pass it on (docker run --gpus all)");
    }

    private Device device(Driver driver, int ordinal) throws Refusal {
        int[] count = new int[1];
        int status = driver.deviceCount(count);
        if (status != Driver.SUCCESS) {
            throw initialisation(driver, status);
        }
        if (count[0] == 0) {
            throw noDevice("0 devices");
        }
        fact("devices", Integer.toString(count[0]));
        if (ordinal >= count[0]) {
            throw new Refusal(
                    Cause.NO_SUCH_DEVICE,
                    "there is no CUDA device " + ordinal + ": the driver shows " + count[0],
                    "choose a device index below " + count[0]);
        }
        Device device = Device.read(driver, ordinal);
        fact("device " + ordinal, device.toString());
        if (device.capability() < CAPABILITY) {
            throw new Refusal(
                    Cause.DEVICE_TOO_OLD,
                    device.name() + " has compute capability " + device.major() + "." + device.minor()
                            + ", 8.0 is needed",
                    "use a GPU of the Ampere generation or newer, or choose device=cpu");
        }
        return device;
    }

    private void versions(Device device) throws Refusal {
        Nvrtc nvrtc;
        CublasLt cublas;
        try {
            nvrtc = libraries.nvrtc().get();
            cublas = libraries.cublasLt().get();
        } catch (LinkageError e) {
            throw new Refusal(
                    Cause.BINDINGS,
                    "the Java bindings of NVRTC or cuBLAS do not load: " + e.getMessage(),
                    "check that all CUDA libraries come from one toolkit of version 13");
        }
        int[] version = new int[2];
        Status.checkNvrtc(nvrtc, nvrtc.version(version), "asking for NVRTC's version");
        fact("NVRTC", version[0] + "." + version[1]);
        requireMajor("NVRTC", version[0], version[1]);
        long lt = cublas.version();
        fact("cuBLASLt", lt / 10000 + "." + lt % 10000 / 100 + "." + lt % 100);
        requireMajor("cuBLASLt", (int) (lt / 10000), (int) (lt % 10000 / 100));
        int[] count = new int[1];
        Status.checkNvrtc(nvrtc, nvrtc.supportedArchitectureCount(count), "asking what NVRTC compiles for");
        int[] architectures = new int[count[0]];
        Status.checkNvrtc(nvrtc, nvrtc.supportedArchitectures(architectures), "asking what NVRTC compiles for");
        boolean known = false;
        for (int a : architectures) {
            known |= a == device.capability();
        }
        if (!known) {
            throw new Refusal(
                    Cause.DEVICE_TOO_NEW,
                    "NVRTC " + version[0] + "." + version[1] + " does not compile for compute capability "
                            + device.major() + "." + device.minor(),
                    "install a newer CUDA toolkit of the 13 line");
        }
    }

    private static void requireMajor(String library, int major, int minor) throws Refusal {
        if (major != LIBRARIES) {
            throw new Refusal(
                    Cause.LIBRARY_VERSION,
                    library + " says it is version " + major + "." + minor + ", version " + LIBRARIES + " is needed",
                    "install the CUDA 13 toolkit and take other versions out of LD_LIBRARY_PATH");
        }
    }

    private void memory(Driver driver, Device device) throws Refusal {
        long[] context = new long[1];
        int status = driver.retainPrimaryContext(context, device.handle());
        if (status == Status.OUT_OF_MEMORY) {
            throw new Refusal(
                    Cause.NO_MEMORY,
                    "the device has no memory left for a context: " + driver.statusName(status) + " (" + status + ")",
                    "end the processes that nvidia-smi lists on it");
        }
        Status.check(driver, status, "creating a context on " + device.name());
        long[] bytes = new long[2];
        boolean enough = false;
        try {
            Status.check(driver, driver.setCurrentContext(context[0]), "entering the device's context");
            Status.check(driver, driver.memoryInfo(bytes), "asking for free memory");
            enough = bytes[0] >= LEAST_FREE_BYTES;
        } finally {
            driver.setCurrentContext(0);
            if (!enough) {
                driver.releasePrimaryContext(device.handle());
            }
        }
        fact("free memory", (bytes[0] >> 20) + " MiB of " + (bytes[1] >> 20) + " MiB");
        if (!enough) {
            throw new Refusal(
                    Cause.NO_MEMORY,
                    "only " + (bytes[0] >> 20) + " MiB of " + (bytes[1] >> 20) + " MiB are free on " + device.name()
                            + ", " + (LEAST_FREE_BYTES >> 20) + " MiB are needed to start",
                    "end the processes that nvidia-smi lists on it");
        }
    }
}
