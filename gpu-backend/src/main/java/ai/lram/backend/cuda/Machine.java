package ai.lram.backend.cuda;

import java.util.List;
import java.util.Optional;

/** What discovery asks the operating system; a scripted one stands in for broken set-ups in tests. */
interface Machine {
    /** Result of opening a shared library: a handle, or the reason why there is none. */
    record Opened(long handle, String failure) {
        boolean isOpen() {
            return handle != 0;
        }
    }

    /** A node under /dev that the driver needs. */
    record Node(String path, boolean readable, boolean writable) {
        boolean usable() {
            return readable && writable;
        }
    }

    /** Opens by file name and keeps it open for the life of the process: later libraries find it by name. */
    Opened open(String file);

    /** Whether an open library exports the symbol. */
    boolean has(Opened library, String symbol);

    /** Where a library that is open lies, if that can be told. */
    Optional<String> pathOf(String file);

    /** An environment variable, null where it is not set. */
    String environment(String name);

    /** The driver's nodes that exist. */
    List<Node> nodes();

    /** Version of the kernel's NVIDIA module, such as 580.159.03; empty where none is loaded. */
    Optional<String> kernelModule();
}
