package ai.lram.bench;

import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** What this process may still take of native memory. */
public final class Memory {
    private static final Path MEMORY_INFO = Path.of("/proc/meminfo");
    private static final Pattern ENTRY = Pattern.compile("(\\w+):\\s+(\\d+) kB");
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
        lack(bytes).ifPresent(why -> {
            throw new BenchException(
                    what + " does not fit into memory",
                    why,
                    "choose a smaller size, fewer sessions or a shorter context");
        });
    }

    /** Why so much does not fit; empty where it does. */
    public static Optional<String> lack(long bytes) {
        long limit = availableBytes();
        return bytes <= limit
                ? Optional.empty()
                : Optional.of("it needs " + text(bytes) + " and " + text(limit) + " may be taken");
    }

    /** Of what the system, or the container this process is in, has free. The limit of direct buffers does not hold for segments. */
    public static long availableBytes() {
        return (long) (USABLE * freeBytes());
    }

    private static long freeBytes() {
        OperatingSystemMXBean system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        Map<String, Long> info = memoryInfo();
        Long available = info.get("MemAvailable");
        Long total = info.get("MemTotal");
        if (available == null || total == null) {
            return system.getFreeMemorySize();
        }
        boolean contained = system.getTotalMemorySize() < total;
        return contained ? Math.min(available, system.getFreeMemorySize()) : available;
    }

    /** Bytes by key; empty where the system has no such file. */
    private static Map<String, Long> memoryInfo() {
        Map<String, Long> info = new HashMap<>();
        if (!Files.isReadable(MEMORY_INFO)) {
            return info;
        }
        try {
            for (String line : Files.readAllLines(MEMORY_INFO)) {
                Matcher m = ENTRY.matcher(line);
                if (m.matches()) {
                    info.put(m.group(1), Long.parseLong(m.group(2)) << 10);
                }
            }
            return info;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** For people, e.g. {@code 1.6 GiB}. */
    public static String text(long bytes) {
        return bytes >= 1L << 30
                ? String.format(Locale.ROOT, "%.1f GiB", bytes / (double) (1L << 30))
                : String.format(Locale.ROOT, "%.1f MiB", bytes / (double) (1L << 20));
    }
}
