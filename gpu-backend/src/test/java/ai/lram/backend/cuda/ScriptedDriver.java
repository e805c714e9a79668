package ai.lram.backend.cuda;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * A driver of one device that answers as told. Its memory is host memory, so that copies copy; every object it hands out is counted until it
 * is given back. Kernels are noted, not run.
 */
@SuppressWarnings("restricted")
class ScriptedDriver implements Driver {
    /** Status by method name; success for what is not in it. */
    final Map<String, Integer> answers = new HashMap<>();

    /** Names of the methods called, in order. */
    final List<String> calls = Collections.synchronizedList(new ArrayList<>());

    /** Live objects by kind: contexts, streams, events, modules, graphs, executables. */
    final Map<String, Integer> live = Collections.synchronizedMap(new TreeMap<>());

    /** Threads that called, by method name. */
    final Map<String, Thread> callers = Collections.synchronizedMap(new HashMap<>());

    int version = 13000;
    int devices = 1;
    String name = "Scripted GPU";
    int major = 9;
    int minor = 0;
    int sharedBytes = 227 << 10;
    boolean cooperative = true;
    int multiprocessors = 132;
    long totalBytes = 80L << 30;
    long freeBytes = 79L << 30;

    /** Of the last page-locked memory. */
    int pinnedFlags;

    /** How often the stream is still at work when it is looked at. */
    int busyQueries;

    /** How far the clock goes on each time it is read: what is waited for does not depend on how fast tests run. */
    long tickNs = 1_000;

    private final Map<Long, Arena> memory = Collections.synchronizedMap(new HashMap<>());
    private long next = 0x1000;
    private long nowNs;

    int answer(String call) {
        calls.add(call);
        callers.put(call, Thread.currentThread());
        return answers.getOrDefault(call, SUCCESS);
    }

    long allocatedBlocks() {
        return memory.size();
    }

    private int handOut(String call, String kind, long[] to) {
        int status = answer(call);
        if (status == SUCCESS) {
            to[0] = next++;
            live.merge(kind, 1, Integer::sum);
        }
        return status;
    }

    private int takeBack(String call, String kind) {
        int status = answer(call);
        if (status == SUCCESS) {
            live.merge(kind, -1, Integer::sum);
        }
        return status;
    }

    /** What is still handed out; empty when everything was given back. */
    Map<String, Integer> leaks() {
        Map<String, Integer> leaks = new TreeMap<>(live);
        leaks.values().removeIf(n -> n == 0);
        if (!memory.isEmpty()) {
            leaks.put("memory blocks", memory.size());
        }
        return leaks;
    }

    private int block(String call, long[] address, long bytes) {
        int status = answer(call);
        if (status == SUCCESS) {
            Arena arena = Arena.ofShared();
            address[0] = arena.allocate(bytes, 4096).address();
            memory.put(address[0], arena);
        }
        return status;
    }

    private int unblock(String call, long address) {
        int status = answer(call);
        if (status == SUCCESS) {
            Arena arena = memory.remove(address);
            if (arena == null) {
                return 1;
            }
            arena.close();
        }
        return status;
    }

    private static MemorySegment at(long address, long bytes) {
        return MemorySegment.ofAddress(address).reinterpret(bytes);
    }

    @Override
    public int init() {
        return answer("init");
    }

    @Override
    public int driverVersion(int[] to) {
        to[0] = version;
        return answer("driverVersion");
    }

    @Override
    public int deviceCount(int[] count) {
        count[0] = devices;
        return answer("deviceCount");
    }

    @Override
    public int device(int[] device, int ordinal) {
        device[0] = ordinal;
        return ordinal < devices ? answer("device") : Status.INVALID_DEVICE;
    }

    @Override
    public int deviceName(byte[] to, int device) {
        byte[] bytes = name.getBytes(StandardCharsets.US_ASCII);
        Arrays.fill(to, (byte) 0);
        System.arraycopy(bytes, 0, to, 0, bytes.length);
        return answer("deviceName");
    }

    @Override
    public int deviceAttribute(int[] value, int attribute, int device) {
        value[0] = switch (attribute) {
            case Device.MULTIPROCESSORS -> multiprocessors;
            case Device.MAJOR -> major;
            case Device.MINOR -> minor;
            case Device.L2_BYTES -> 50 << 20;
            case Device.SHARED_BYTES -> sharedBytes;
            case Device.COOPERATIVE -> cooperative ? 1 : 0;
            default -> throw new AssertionError("attribute " + attribute);
        };
        return answer("deviceAttribute");
    }

    @Override
    public int totalMemory(long[] bytes, int device) {
        bytes[0] = totalBytes;
        return answer("totalMemory");
    }

    @Override
    public int retainPrimaryContext(long[] context, int device) {
        return handOut("retainPrimaryContext", "contexts", context);
    }

    @Override
    public int releasePrimaryContext(int device) {
        return takeBack("releasePrimaryContext", "contexts");
    }

    @Override
    public int setCurrentContext(long context) {
        return answer("setCurrentContext");
    }

    @Override
    public int memoryInfo(long[] freeAndTotal) {
        freeAndTotal[0] = freeBytes;
        freeAndTotal[1] = totalBytes;
        return answer("memoryInfo");
    }

    @Override
    public int allocate(long[] address, long bytes) {
        return block("allocate", address, bytes);
    }

    @Override
    public int free(long address) {
        return unblock("free", address);
    }

    @Override
    public int allocatePinned(long[] address, long bytes, int flags) {
        pinnedFlags = flags;
        return block("allocatePinned", address, bytes);
    }

    @Override
    public int freePinned(long address) {
        return unblock("freePinned", address);
    }

    @Override
    public int deviceAddressOfPinned(long[] device, long host) {
        device[0] = host;
        return answer("deviceAddressOfPinned");
    }

    @Override
    public int copyToDevice(long device, long host, long bytes, long stream) {
        at(device, bytes).copyFrom(at(host, bytes));
        return answer("copyToDevice");
    }

    @Override
    public int copyToHost(long host, long device, long bytes, long stream) {
        at(host, bytes).copyFrom(at(device, bytes));
        return answer("copyToHost");
    }

    @Override
    public int copyOnDevice(long to, long from, long bytes, long stream) {
        at(to, bytes).copyFrom(at(from, bytes));
        return answer("copyOnDevice");
    }

    @Override
    public int fillBytes(long device, byte value, long bytes, long stream) {
        at(device, bytes).fill(value);
        return answer("fillBytes");
    }

    @Override
    public int createStream(long[] stream, int flags) {
        return handOut("createStream", "streams", stream);
    }

    @Override
    public int synchronizeStream(long stream) {
        return answer("synchronizeStream");
    }

    @Override
    public long nanoTime() {
        return nowNs += tickNs;
    }

    @Override
    public int queryStream(long stream) {
        int status = answer("queryStream");
        return status == SUCCESS && busyQueries > 0 && busyQueries-- > 0 ? NOT_READY : status;
    }

    @Override
    public int destroyStream(long stream) {
        return takeBack("destroyStream", "streams");
    }

    @Override
    public int createEvent(long[] event, int flags) {
        return handOut("createEvent", "events", event);
    }

    @Override
    public int recordEvent(long event, long stream) {
        return answer("recordEvent");
    }

    @Override
    public int synchronizeEvent(long event) {
        return answer("synchronizeEvent");
    }

    @Override
    public int elapsed(float[] milliseconds, long from, long to) {
        milliseconds[0] = 1;
        return answer("elapsed");
    }

    @Override
    public int destroyEvent(long event) {
        return takeBack("destroyEvent", "events");
    }

    @Override
    public int loadModule(long[] module, MemorySegment image) {
        return handOut("loadModule", "modules", module);
    }

    @Override
    public int unloadModule(long module) {
        return takeBack("unloadModule", "modules");
    }

    @Override
    public int function(long[] function, long module, String name) {
        function[0] = next++;
        return answer("function");
    }

    @Override
    public int setFunctionAttribute(long function, int attribute, int value) {
        return answer("setFunctionAttribute");
    }

    @Override
    public int launch(
            long function,
            int gridX,
            int gridY,
            int gridZ,
            int blockX,
            int blockY,
            int blockZ,
            int sharedBytes,
            long stream,
            long argument) {
        return answer("launch");
    }

    @Override
    public int launchEarly(
            long function, int gridX, int gridY, int gridZ, int threads, int sharedBytes, long stream, long argument) {
        return answer("launchEarly");
    }

    @Override
    public int launchTogether(
            long function, int blocks, int threads, int sharedBytes, boolean early, long stream, long argument) {
        return answer("launchTogether");
    }

    @Override
    public int beginCapture(long stream, int mode) {
        return answer("beginCapture");
    }

    @Override
    public int endCapture(long[] graph, long stream) {
        return handOut("endCapture", "graphs", graph);
    }

    @Override
    public int instantiate(long[] executable, long graph) {
        return handOut("instantiate", "executables", executable);
    }

    @Override
    public int launchGraph(long executable, long stream) {
        return answer("launchGraph");
    }

    @Override
    public int destroyExecutable(long executable) {
        return takeBack("destroyExecutable", "executables");
    }

    @Override
    public int destroyGraph(long graph) {
        return takeBack("destroyGraph", "graphs");
    }

    @Override
    public String statusName(int status) {
        return "STATUS_" + status;
    }
}
