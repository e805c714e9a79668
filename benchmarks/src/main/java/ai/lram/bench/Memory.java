package ai.lram.bench;

import com.sun.management.HotSpotDiagnosticMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;

/** What this process may still take of tensor memory. */
public final class Memory {
    private static final Path MEMORY_INFO = Path.of("/proc/meminfo");
    /** Left to the rest of the process and of the machine. */
    private static final double USABLE = 0.9;

    private Memory() {}

    /**
     * Refuses a size before anything is allocated.
     *
     * @param what that needs it, e.g. {@code size 408M with 64 sessions}
     * @throws BenchException naming what is needed and what there is
     */
    public static void require(String what, long bytes) {
        long limit = availableBytes();
        if (bytes > limit) {
            throw new BenchException(
                    what + " does not fit into memory",
                    "it needs " + text(bytes) + " and " + text(limit) + " may be taken",
                    "choose a smaller size, fewer sessions or a shorter context"
                            + (directLimitBytes() < systemBytes() ? ", or raise -XX:MaxDirectMemorySize" : ""));
        }
    }

    /** The smaller of the JVM's limit for native memory and what the system has free. */
    public static long availableBytes() {
        return (long) (USABLE * Math.min(directLimitBytes(), systemBytes()));
    }

    private static long directLimitBytes() {
        HotSpotDiagnosticMXBean vm = ManagementFactory.getPlatformMXBean(HotSpotDiagnosticMXBean.class);
        long set = Long.parseLong(vm.getVMOption("MaxDirectMemorySize").getValue());
        return set > 0 ? set : Runtime.getRuntime().maxMemory();
    }

    private static long systemBytes() {
        try {
            List<String> lines = Files.isReadable(MEMORY_INFO) ? Files.readAllLines(MEMORY_INFO) : List.of();
            for (String line : lines) {
                String[] words = line.split("\\s+");
                if (words[0].equals("MemAvailable:")) {
                    return Long.parseLong(words[1]) << 10;
                }
            }
        } catch (IOException | NumberFormatException unreadable) {
            // The system's own bean knows less exactly.
        }
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
                .getTotalMemorySize();
    }

    /** For people, e.g. {@code 1.6 GiB}. */
    public static String text(long bytes) {
        return bytes >= 1L << 30
                ? String.format(Locale.ROOT, "%.1f GiB", bytes / (double) (1L << 30))
                : String.format(Locale.ROOT, "%.1f MiB", bytes / (double) (1L << 20));
    }
}
