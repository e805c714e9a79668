package ai.lram.agent.autodiff;

import java.util.Map;
import java.util.TreeMap;

/** Wall time per kernel name over some replays of a plan. */
public final class Profile {
    private final Map<String, long[]> byKernel = new TreeMap<>();

    void add(String kernel, long ns) {
        long[] sum = byKernel.computeIfAbsent(kernel, k -> new long[2]);
        sum[0] += ns;
        sum[1]++;
    }

    /** Nanoseconds per kernel name. */
    public Map<String, Long> nanos() {
        Map<String, Long> out = new TreeMap<>();
        byKernel.forEach((k, v) -> out.put(k, v[0]));
        return out;
    }

    /** A table, largest share first. */
    public String table() {
        long total = byKernel.values().stream().mapToLong(v -> v[0]).sum();
        StringBuilder b = new StringBuilder();
        byKernel.entrySet().stream()
                .sorted((x, y) -> Long.compare(y.getValue()[0], x.getValue()[0]))
                .forEach(e -> b.append(String.format(
                        "%-28s %8d calls %10.2f ms %5.1f %%%n",
                        e.getKey(),
                        e.getValue()[1],
                        e.getValue()[0] / 1e6,
                        100.0 * e.getValue()[0] / Math.max(1, total))));
        return b.toString();
    }
}
