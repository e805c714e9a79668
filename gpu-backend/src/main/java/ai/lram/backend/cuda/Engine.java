package ai.lram.backend.cuda;

import ai.lram.backend.BackendException;
import ai.lram.backend.DeviceLostException;
import ai.lram.backend.KernelLaunchException;
import ai.lram.backend.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.ReentrantLock;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * An open device: its context, stream, work space, compiler and library handles.
 *
 * <p>Threads. What is rare (opening, memory, modules, closing) runs on the {@link DeviceThread}. Queueing a kernel runs on its caller, a
 * platform thread that enters the context unless it has; a lock keeps two callers' arguments apart. A virtual thread
 * is refused, since the context belongs to the operating system's thread underneath, which may change.
 */
@SuppressWarnings("restricted")
final class Engine implements AutoCloseable {
    /** Threads of a block of all plain kernels ({@code LRAM_THREADS} in the sources). */
    static final int THREADS = 256;

    /** How a step's end is waited for: {@code spin}, or {@code block} in the driver. */
    static final String WAIT = "lram.cuda.wait";

    /** Whether kernels that can begin before the one before them has ended: {@code on} or {@code off}. */
    static final String EARLY = "lram.cuda.early";

    private static final int EARLY_CAPABILITY = 90;

    /** How long the end of a step is looked for before the thread gives its processor away. */
    private static final long PATIENCE_NS = 20_000_000;

    /** How often the driver is asked for a step that says itself when it is decided: a device that is lost says nothing. */
    private static final long ASKING_NS = 100_000;

    private static final String WAITING = "waiting for the stream";

    /** Bytes of device memory for cuBLASLt, and as many for partial sums of our kernels. */
    static final long WORKSPACE = 32L << 20;

    private static final Logger LOG = LoggerFactory.getLogger(Engine.class);
    private static final int STREAM_NON_BLOCKING = 1;
    private static final int PINNED_PORTABLE = 1;
    private static final int PINNED_MAPPED = 2;
    private static final int DYNAMIC_SHARED_ATTRIBUTE = 8;
    private static final int STATIC_SHARED_LIMIT = 48 << 10;
    private static final int ARGUMENT_BYTES = 16384;

    /** The entry of the engine whose context each thread has entered last. */
    private static final ThreadLocal<Object[]> ENTERED = ThreadLocal.withInitial(() -> new Object[1]);

    private final Driver driver;
    private final Nvrtc nvrtc;
    private final CublasLt cublas;
    private final Device device;
    private final DeviceThread thread;
    private final Deque<Runnable> endings = new ArrayDeque<>();
    private final ReentrantLock lock = new ReentrantLock();

    /** Stands for this engine's context in {@link #ENTERED}, which outlives it. */
    private final Object entry = new Object();

    private final Launch launch = new Launch();
    private final boolean spins;
    private final boolean early;
    private final Set<CudaReplay> replays = ConcurrentHashMap.newKeySet();

    private KernelCompiler compiler;
    private long context;
    private long stream;
    private long memoryStream;
    private long ltHandle;
    private long ltWorkspace;
    private long partials;
    private Faults faults;
    private Staging staging;
    private DecidedSteps decided;
    private boolean recording;
    private volatile BackendException lost;
    private volatile boolean closed;

    /** @throws BackendException with everything given back that was taken on the way */
    Engine(Driver driver, Nvrtc nvrtc, CublasLt cublas, Device device, Path toolkitHeaders, CubinCache cache) {
        this.driver = driver;
        this.nvrtc = nvrtc;
        this.cublas = cublas;
        this.device = device;
        spins = chosen(WAIT, "spin", "block");
        early = chosen(EARLY, "on", "off") && device.capability() >= EARLY_CAPABILITY;
        thread = new DeviceThread("cuda:" + device.ordinal());
        try {
            thread.run(() -> open(toolkitHeaders, cache));
        } catch (RuntimeException | Error e) {
            close();
            throw e;
        }
    }

    /** Whether a property is its first value, the default, rather than its second. */
    private static boolean chosen(String property, String first, String second) {
        return chosen(property, List.of(first, second)).equals(first);
    }

    /** A property's value, by default the first of those that there are. */
    static String chosen(String property, List<String> values) {
        String wanted = System.getProperty(property, values.getFirst());
        if (!values.contains(wanted)) {
            String others = String.join(", ", values.subList(0, values.size() - 1));
            throw new IllegalArgumentException("-D" + property + "=" + wanted + " is none of " + others + " and "
                    + values.getLast() + "; choose one of these");
        }
        return wanted;
    }

    private void open(Path toolkitHeaders, CubinCache cache) {
        long[] out = new long[1];
        check(driver.retainPrimaryContext(out, device.handle()), "creating a context on " + device.name());
        endings.push(() -> ended(driver.releasePrimaryContext(device.handle()), "releasing the context"));
        context = out[0];
        check(driver.setCurrentContext(context), "entering the context");
        endings.push(() -> ended(driver.setCurrentContext(0), "leaving the context"));
        stream = newStream();
        memoryStream = newStream();
        int status = cublas.create(out);
        Status.checkCublas(status, "opening cuBLASLt");
        ltHandle = out[0];
        endings.push(() -> {
            int s = cublas.destroy(ltHandle);
            if (s != CublasLt.SUCCESS) {
                LOG.warn("closing cuBLASLt answered status {}", s);
            }
        });
        ltWorkspace = take(WORKSPACE);
        partials = take(WORKSPACE);
        faults = new Faults(this);
        staging = new Staging(this);
        decided = new DecidedSteps(this);
        compiler = new KernelCompiler(nvrtc, device.architecture(), toolkitHeaders, cache);
    }

    private long newStream() {
        long[] out = new long[1];
        check(driver.createStream(out, STREAM_NON_BLOCKING), "creating a stream");
        long created = out[0];
        endings.push(() -> ended(driver.destroyStream(created), "destroying a stream"));
        return created;
    }

    /** Device memory for the engine's life; on the device thread. */
    private long take(long bytes) {
        long address = allocateNow(bytes);
        endings.push(() -> ended(driver.free(address), "freeing device memory"));
        return address;
    }

    /** The answer of an ending: what cannot be given back is logged, since closing never throws. */
    private void ended(int status, String what) {
        if (status == Driver.SUCCESS) {
            return;
        }
        if (lost != null) {
            LOG.debug("{} answered {} ({}) after the device was lost", what, driver.statusName(status), status);
        } else {
            LOG.warn("{} answered {} ({})", what, driver.statusName(status), status);
        }
    }

    Driver driver() {
        return driver;
    }

    CublasLt cublas() {
        return cublas;
    }

    Device device() {
        return device;
    }

    KernelCompiler compiler() {
        return compiler;
    }

    Faults faults() {
        return faults;
    }

    Staging staging() {
        return staging;
    }

    DecidedSteps decided() {
        return decided;
    }

    long stream() {
        return stream;
    }

    long ltHandle() {
        return ltHandle;
    }

    /** {@link #WORKSPACE} bytes that cuBLASLt may use during one product. */
    long ltWorkspace() {
        return ltWorkspace;
    }

    /** {@link #WORKSPACE} bytes for what the kernels of one operation leave each other. */
    long partials() {
        return partials;
    }

    /** Gives back when the engine closes, in reverse order; on the device thread. */
    void atEnd(Runnable ending) {
        thread.run(() -> endings.push(ending));
    }

    /** Throws the typed error of a status, and remembers a lost device. */
    void check(int status, String what) {
        if (status != Driver.SUCCESS) {
            BackendException e = Status.driverError(driver, status, what);
            if (e instanceof DeviceLostException) {
                lost = e;
            }
            throw e;
        }
    }

    private void requireUsable(String what) {
        if (closed) {
            throw new DeviceLostException(
                    what, "the engine was closed", "keep the engine open as long as its tensors are used");
        }
        if (lost != null) {
            throw new DeviceLostException(
                    what,
                    "the device was lost before: " + lost.getMessage(),
                    "open a new engine in a new process",
                    lost);
        }
    }

    /** Zero-filled device memory, 256-byte aligned. */
    long allocate(long bytes) {
        requireUsable("allocating " + bytes + " bytes");
        return thread.call(() -> {
            long address = allocateNow(bytes);
            try {
                // On a stream of its own, so that a recording under way does not take it in.
                check(driver.fillBytes(address, (byte) 0, bytes, memoryStream), "clearing new device memory");
                check(driver.synchronizeStream(memoryStream), "clearing new device memory");
            } catch (BackendException e) {
                ended(driver.free(address), "freeing device memory");
                throw e;
            }
            return address;
        });
    }

    private long allocateNow(long bytes) {
        long[] out = new long[1];
        int status = driver.allocate(out, bytes);
        if (status == Status.OUT_OF_MEMORY) {
            long[] info = memoryNow();
            check(
                    status,
                    "allocating " + bytes + " bytes on " + device.name() + " (" + info[0] + " of " + info[1]
                            + " bytes are free)");
        }
        check(status, "allocating " + bytes + " bytes on " + device.name());
        return out[0];
    }

    /** Free and total bytes of the device; on the device thread. */
    private long[] memoryNow() {
        long[] info = new long[2];
        check(driver.memoryInfo(info), "asking for free memory");
        return info;
    }

    /** Of the device's memory, whoever uses it. */
    long freeBytes() {
        requireUsable("asking for free memory");
        return thread.call(() -> memoryNow()[0]);
    }

    /** Waits for what uses the memory. Never throws: the arena that owned it is being closed. */
    void free(long address) {
        if (closed) {
            return; // the context took it along
        }
        thread.run(() -> ended(driver.free(address), "freeing device memory"));
    }

    /** Counts a graph among what the engine must give back. */
    void opened(CudaReplay replay) {
        replays.add(replay);
    }

    void requireOpen(CudaReplay replay) {
        if (!replays.contains(replay)) {
            throw new KernelLaunchException(
                    "replaying kernels", "the recording was closed", "keep it open as long as it is run");
        }
    }

    /** Destroys a graph that has not been destroyed; the driver waits for a launch under way. */
    void destroy(CudaReplay replay) {
        if (replays.remove(replay)) {
            thread.run(() -> ended(driver.destroyExecutable(replay.executable()), "destroying a graph"));
        }
    }

    /** Page-locked host memory that the device can address, for the engine's life; on the device thread. */
    MemorySegment pinned(long bytes) {
        long address = pinnedNow(bytes);
        endings.push(() -> freePinnedNow(address));
        return MemorySegment.ofAddress(address).reinterpret(bytes).fill((byte) 0);
    }

    private long pinnedNow(long bytes) {
        long[] out = new long[1];
        check(
                driver.allocatePinned(out, bytes, PINNED_PORTABLE | PINNED_MAPPED),
                "allocating " + bytes + " bytes of page-locked memory");
        return out[0];
    }

    private void freePinnedNow(long address) {
        ended(driver.freePinned(address), "freeing page-locked memory");
    }

    /** Where the device sees page-locked memory; on the device thread. */
    long onDevice(long pinned) {
        long[] out = new long[1];
        check(driver.deviceAddressOfPinned(out, pinned), "mapping page-locked memory to the device");
        return out[0];
    }

    /**
     * Page-locked memory that both sides address.
     *
     * @param host address on the host
     * @param device address on the device
     */
    record Mapped(long host, long device) {}

    /** Not cleared. */
    Mapped allocateMapped(long bytes) {
        requireUsable("allocating " + bytes + " bytes of page-locked memory");
        return thread.call(() -> {
            long host = pinnedNow(bytes);
            try {
                return new Mapped(host, onDevice(host));
            } catch (BackendException e) {
                freePinnedNow(host);
                throw e;
            }
        });
    }

    /** Never throws: the arena that owned it is being closed. */
    void free(Mapped memory) {
        if (!closed) {
            thread.run(() -> freePinnedNow(memory.host));
        }
    }

    long takeForLife(long bytes) {
        long address = take(bytes);
        check(driver.fillBytes(address, (byte) 0, bytes, memoryStream), "clearing device memory");
        check(driver.synchronizeStream(memoryStream), "clearing device memory");
        return address;
    }

    /** Zero-filled device memory for the engine's life, from any thread. */
    long lasting(long bytes) {
        return thread.call(() -> takeForLife(bytes));
    }

    /** An event for the engine's life; on the device thread. */
    long newEvent(int flags) {
        long[] out = new long[1];
        check(driver.createEvent(out, flags), "creating an event");
        long event = out[0];
        endings.push(() -> ended(driver.destroyEvent(event), "destroying an event"));
        return event;
    }

    /** Loads machine code; it stays for the engine's life. */
    long load(String name, byte[] cubin) {
        return thread.call(() -> {
            try (Arena arena = Arena.ofConfined()) {
                MemorySegment image = arena.allocate(cubin.length, 64);
                MemorySegment.copy(cubin, 0, image, ValueLayout.JAVA_BYTE, 0, cubin.length);
                long[] out = new long[1];
                check(driver.loadModule(out, image), "loading the kernels of " + name);
                long module = out[0];
                endings.push(() -> ended(driver.unloadModule(module), "unloading the kernels of " + name));
                return module;
            }
        });
    }

    /** @param sharedBytes dynamic shared memory that launches may ask for */
    Kernel kernel(long module, String name, int sharedBytes) {
        return thread.call(() -> {
            long[] out = new long[1];
            check(driver.function(out, module, name), "looking up the kernel " + name);
            if (sharedBytes > STATIC_SHARED_LIMIT) {
                check(
                        driver.setFunctionAttribute(out[0], DYNAMIC_SHARED_ATTRIBUTE, sharedBytes),
                        "asking for " + sharedBytes + " bytes of shared memory for " + name);
            }
            return new Kernel(name, out[0]);
        });
    }

    /** Takes the right to queue; every call is matched by {@link #leave}. */
    void enter(String what) {
        lock.lock();
        try {
            requireUsable(what);
            if (ENTERED.get()[0] != this.entry) {
                Thread current = Thread.currentThread();
                if (current.isVirtual()) {
                    throw new KernelLaunchException(
                            what,
                            "it was called from a virtual thread, whose carrier may change between two calls of the driver",
                            "queue kernels from a platform thread");
                }
                check(driver.setCurrentContext(context), "entering the context from " + current.getName());
                ENTERED.get()[0] = entry;
            }
            decided.followed();
        } catch (RuntimeException | Error e) {
            lock.unlock();
            throw e;
        }
    }

    void leave() {
        lock.unlock();
    }

    /** Between {@link #enter} and {@link #leave}: refuses what a recording cannot hold. */
    void requireNotRecording(String what) {
        if (recording) {
            throw new KernelLaunchException(
                    what,
                    "the stream is recording kernels",
                    "upload, download, allocate and synchronise outside of Stream.record");
        }
    }

    void recording(boolean on) {
        recording = on;
        if (on) {
            decided.record();
        }
    }

    /** Starts a launch: the arguments follow in the order of the kernel's parameter record, then {@link Launch#run}. */
    Launch launch(Kernel kernel) {
        enter(kernel.name());
        if (launch.begun) {
            lock.unlock(); // an earlier launch of this thread was begun and never run
        }
        return launch.begin(kernel);
    }

    /** Blocks for {@code n} elements, a grid-stride loop taking the rest. */
    int blocks(long n) {
        return (int) Math.max(1, Math.min((n + THREADS - 1) / THREADS, 32L * device.multiprocessors()));
    }

    /** Queues zeros for a tensor. */
    void clear(Tensor t) {
        enter("clearing memory");
        try {
            check(driver.fillBytes(t.address(), (byte) 0, t.bytes(), stream), "clearing memory");
        } finally {
            leave();
        }
    }

    /** The argument record of one launch, laid out as a C compiler would. Holds the engine's lock from begin to run. */
    final class Launch {
        private final MemorySegment arguments = Arena.ofAuto().allocate(ARGUMENT_BYTES, 64);
        private Kernel kernel;
        private boolean begun;
        private boolean decides;
        private long at;

        private Launch begin(Kernel k) {
            kernel = k;
            begun = true;
            decides = false;
            at = 0;
            return this;
        }

        private long place(int bytes) {
            long where = (at + bytes - 1) & -bytes;
            at = where + bytes;
            return where;
        }

        /** The tensor's address, 0 for null. */
        Launch put(Tensor t) {
            return put(t == null ? 0L : t.address());
        }

        Launch put(long value) {
            arguments.set(ValueLayout.JAVA_LONG, place(8), value);
            return this;
        }

        Launch put(int value) {
            arguments.set(ValueLayout.JAVA_INT, place(4), value);
            return this;
        }

        Launch put(float value) {
            arguments.set(ValueLayout.JAVA_FLOAT, place(4), value);
            return this;
        }

        Launch put(boolean value) {
            return put(value ? 1 : 0);
        }

        /** Where the kernel reports indices out of range. */
        Launch faults() {
            return put(faults.device()).put(faults.host());
        }

        /** Where the kernel, a step's last, counts the step that it has decided. */
        Launch decided() {
            decides = true;
            return put(decided.counts()).put(decided.word());
        }

        void run(long blocks) {
            run(blocks, 1, 1, THREADS, 0);
        }

        /** Runs blocks that wait for each other, all on the device at once; the kernel may begin as one of {@link #early}. */
        void together(int blocks, int threads, int sharedBytes) {
            try {
                check(
                        driver.launchTogether(
                                kernel.function(), blocks, threads, sharedBytes, early, stream, arguments.address()),
                        kernel.name());
            } finally {
                begun = false;
                leave();
            }
        }

        void run(long gridX, long gridY, long gridZ, int threads, int sharedBytes) {
            run(false, gridX, gridY, gridZ, threads, sharedBytes);
        }

        /**
         * Runs a kernel that may begin before the one queued before it has ended: it waits for that itself. Where the device cannot, it is
         * run as any other.
         */
        void early(long gridX, long gridY, long gridZ, int threads, int sharedBytes) {
            run(early, gridX, gridY, gridZ, threads, sharedBytes);
        }

        private void run(boolean begins, long gridX, long gridY, long gridZ, int threads, int sharedBytes) {
            try {
                if (gridX > Integer.MAX_VALUE || gridY > 65_535 || gridZ > 65_535) {
                    throw new KernelLaunchException(
                            kernel.name(),
                            "its grid of " + gridX + " x " + gridY + " x " + gridZ
                                    + " blocks is too large for the device",
                            "use smaller sizes");
                }
                if (gridX == 0 || gridY == 0 || gridZ == 0) {
                    return;
                }
                int x = (int) gridX;
                int y = (int) gridY;
                int z = (int) gridZ;
                long arguments = this.arguments.address();
                check(
                        begins
                                ? driver.launchEarly(
                                        kernel.function(), x, y, z, threads, sharedBytes, stream, arguments)
                                : driver.launch(
                                        kernel.function(), x, y, z, threads, 1, 1, sharedBytes, stream, arguments),
                        kernel.name());
                if (decides) {
                    decided.launched(recording);
                }
            } finally {
                begun = false;
                leave();
            }
        }
    }

    /** Waits for the stream, delivers downloads and reports what kernels found wrong. */
    void synchronize() {
        enter(WAITING);
        try {
            requireNotRecording(WAITING);
            check(driver.synchronizeStream(stream), WAITING);
            settle();
        } finally {
            leave();
        }
    }

    private void settle() {
        staging.settle();
        faults.report();
    }

    /**
     * As {@link #synchronize}, between enter and leave and not recording: looks until the stream is done, for a while.
     *
     * @param tells whether it is done when the steps queued are decided; downloads are waited for as ever
     */
    void spin(boolean tells) {
        boolean listens = tells && !staging.owes();
        int status = Driver.NOT_READY;
        long now = driver.nanoTime();
        long patience = now + PATIENCE_NS;
        long pause = listens ? ASKING_NS : 0;
        long asking = now + pause;
        while (spins && status == Driver.NOT_READY && now - patience < 0) {
            Thread.onSpinWait();
            now = driver.nanoTime(); // before looking: whoever comes back late looks once more
            if (listens && decided.all()) {
                status = Driver.SUCCESS;
            } else if (now - asking >= 0) {
                status = driver.queryStream(stream);
                asking = now + pause;
            }
        }
        check(status == Driver.NOT_READY ? driver.synchronizeStream(stream) : status, WAITING);
        settle();
    }

    @Override
    public void close() {
        lock.lock();
        try {
            if (closed) {
                return;
            }
            closed = true;
        } finally {
            lock.unlock();
        }
        replays.forEach(this::destroy);
        thread.run(() -> {
            while (!endings.isEmpty()) {
                endings.pop().run();
            }
        });
        thread.close();
    }
}
