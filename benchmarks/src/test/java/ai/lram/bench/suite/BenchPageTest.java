package ai.lram.bench.suite;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.bench.Benchmark;
import ai.lram.bench.Better;
import ai.lram.bench.Distribution;
import ai.lram.bench.Host;
import ai.lram.bench.Latencies;
import ai.lram.bench.Result;
import ai.lram.bench.Run;
import java.util.HashSet;
import java.util.List;
import org.junit.jupiter.api.Test;

class BenchPageTest {
    private static Latencies around(double ms, int samples) {
        Latencies l = new Latencies(samples, 2);
        for (int i = 0; i < samples; i++) {
            l.record((long) (1e6 * ms * (0.9 + 0.2 * i / samples)));
        }
        return l;
    }

    /** A benchmark with a case at two contexts. */
    private record Made() implements Benchmark {
        @Override
        public String name() {
            return "step";
        }

        @Override
        public String measures() {
            return "made-up <numbers>";
        }

        @Override
        public void run(Run run) {
            run.distribution(new Distribution("step", "step-16m-fp32-2t", around(2, 5000)), 1, 4, "beside a peer");
            run.distribution(new Distribution("step", "step-16m-fp32-2t-ctx50", around(1, 200)), 1, Double.NaN, "");
            run.distribution(new Distribution("step", "step-16m-fp32-2t-ctx500", around(3, 200)), 1, Double.NaN, "");
            run.result(Result.of("step", "rate", 5, "GB/s", Better.HIGHER, 3).withFloor(10));
            run.table(new Run.Table("step", "where it goes", List.of("part", "share"), List.of(List.of("a", "75 %"))));
            run.note("weights are drawn");
        }
    }

    @Test
    void aPageStandsAloneAndSaysItInShort() {
        Run run = new Run(what -> {});
        Made bench = new Made();
        bench.run(run);
        String html = BenchPage.of(run, new Host("abc", "25", "cpu & co", null), "lram bench made", List.of(bench))
                .html();
        assertTrue(html.contains("In short") && html.contains("<td>16M model, fp32 weights, 2 threads</td>"), html);
        assertTrue(html.contains("<td>2.00x</td></tr>"), "against the peer");
        assertTrue(html.contains("made-up &lt;numbers&gt;") && html.contains("cpu &amp; co"), html);
        assertTrue(html.contains("weights are drawn") && html.contains("lram bench made"), html);
        assertTrue(html.contains("Time of a step over what lies behind it"), "latency over context");
        assertTrue(html.contains("Percentiles") && html.contains("where it goes"), html);
        assertTrue(html.contains("prefers-color-scheme:dark"), "dark where the reader's system is");
        String rest = html.replace("http://www.w3.org/2000/svg", "");
        assertFalse(
                rest.contains("http:") || rest.contains("https:") || rest.contains("<script") || rest.contains("src="),
                "nothing is fetched");
    }

    @Test
    void casesArePutIntoWords() {
        assertEquals(
                "16M model, fp32 weights, 1 thread, 8 sessions in one step",
                PlainWords.of("step", "step-16m-fp32-8sessions-1t").orElseThrow());
        assertEquals(
                "16M model in ONNX Runtime, int8 weights, 2 threads",
                PlainWords.of("step", "ort-16m-int8-2t").orElseThrow());
        assertEquals(
                "transformer as large as the 48M model, after 1600 steps, 2 threads",
                PlainWords.of("step", "dt-48m-ctx1600-2t").orElseThrow());
        assertEquals(
                "control loop unitree-g1-16m, 4 robots, over TCP",
                PlainWords.of("latency", "unitree-g1-16m-ctx50-4s-tcp").orElseThrow());
        assertEquals(
                "control loop metaworld-16m on a GPU, 1 robot, in process",
                PlainWords.of("latency", "metaworld-16m-cuda-ctx50-1s-local").orElseThrow());
        assertTrue(PlainWords.of("machine", "wake-up").isEmpty());
        assertTrue(PlainWords.of("step", "noise-step-16m-fp32-1t").isEmpty());
    }

    @Test
    void rowsShowFloorPeerAndSpread() {
        Result r = Result.of("b", "x", 3, "ms", Better.LOWER, 7)
                .withFloor(1.5)
                .withPeer(6)
                .withSpread(2.7, 3.3);
        assertEquals(List.of("x", "3.00", "ms", "+-10 %", "1.50", "2.00", "6.00", "2.00x", "7"), ResultTable.row(r));
        assertEquals(ResultTable.HEADER.size(), ResultTable.row(r).size());
        List<String> percentiles = ResultTable.percentiles(new Distribution("b", "x", around(2, 500)));
        assertEquals(ResultTable.PERCENTILES.size(), percentiles.size());
        assertEquals("", percentiles.get(4), "500 samples say nothing about p99.9");
    }

    @Test
    void benchmarksHaveDifferentNames() {
        List<String> names = Suite.names();
        assertEquals(names.size(), new HashSet<>(names).size());
        assertEquals(List.of("machine", "step", "latency", "bridge", "data", "train"), names);
        Suite.all(false).forEach(b -> assertFalse(b.measures().isBlank()));
    }
}
