package ai.lram.backend.cuda;

import java.lang.foreign.MemorySegment;

/**
 * The entry points of the CUDA driver that the engine uses, one method each. Every method returns the driver's status, 0 for success;
 * results come back in the first element of the array argument. Contexts, streams, events, modules, functions and graphs are addresses.
 *
 * <p>One instance serves one engine, and one thread at a time: {@link #launch} reuses its argument holders.
 */
interface Driver {
    int SUCCESS = 0;

    /** Of {@link #queryStream}: no error. */
    int NOT_READY = 600;

    /** The monotonic clock by which answers are waited for, ns; of no fixed origin. */
    default long nanoTime() {
        return System.nanoTime();
    }

    int init();

    /** 1000 major + 10 minor of the newest CUDA the driver speaks, such as 13000. */
    int driverVersion(int[] version);

    int deviceCount(int[] count);

    int device(int[] device, int ordinal);

    /** Zero-terminated. */
    int deviceName(byte[] name, int device);

    int deviceAttribute(int[] value, int attribute, int device);

    int totalMemory(long[] bytes, int device);

    int retainPrimaryContext(long[] context, int device);

    int releasePrimaryContext(int device);

    /** For the calling thread; 0 for none. */
    int setCurrentContext(long context);

    /** Free and total bytes of the current context's device. */
    int memoryInfo(long[] freeAndTotal);

    int allocate(long[] address, long bytes);

    int free(long address);

    /** Page-locked host memory. */
    int allocatePinned(long[] address, long bytes, int flags);

    int freePinned(long address);

    /** Where the device sees page-locked host memory. */
    int deviceAddressOfPinned(long[] device, long host);

    int copyToDevice(long device, long host, long bytes, long stream);

    int copyToHost(long host, long device, long bytes, long stream);

    int copyOnDevice(long to, long from, long bytes, long stream);

    int fillBytes(long device, byte value, long bytes, long stream);

    int createStream(long[] stream, int flags);

    int synchronizeStream(long stream);

    /** {@link #SUCCESS} if everything queued is done, {@link #NOT_READY} if not. */
    int queryStream(long stream);

    int destroyStream(long stream);

    int createEvent(long[] event, int flags);

    int recordEvent(long event, long stream);

    int synchronizeEvent(long event);

    /** Milliseconds between two events. */
    int elapsed(float[] milliseconds, long from, long to);

    int destroyEvent(long event);

    /** @param image a whole CUBIN in native memory */
    int loadModule(long[] module, MemorySegment image);

    int unloadModule(long module);

    int function(long[] function, long module, String name);

    int setFunctionAttribute(long function, int attribute, int value);

    /**
     * Queues a kernel of one argument.
     *
     * @param argument address of that argument, which is copied before the call returns
     */
    int launch(
            long function,
            int gridX,
            int gridY,
            int gridZ,
            int blockX,
            int blockY,
            int blockZ,
            int sharedBytes,
            long stream,
            long argument);

    /**
     * As {@link #launch}, of a kernel that may begin before the one queued before it has ended, and itself waits for that. From compute
     * capability 9.0 on.
     */
    int launchEarly(
            long function, int gridX, int gridY, int gridZ, int threads, int sharedBytes, long stream, long argument);

    /** Queues a kernel of one argument, a line of blocks that are all on the device at once; {@code early} as {@link #launchEarly}. */
    int launchTogether(
            long function, int blocks, int threads, int sharedBytes, boolean early, long stream, long argument);

    int beginCapture(long stream, int mode);

    int endCapture(long[] graph, long stream);

    int instantiate(long[] executable, long graph);

    int launchGraph(long executable, long stream);

    int destroyExecutable(long executable);

    int destroyGraph(long graph);

    /** The driver's name of a status, such as {@code CUDA_ERROR_OUT_OF_MEMORY}. */
    String statusName(int status);
}
