package ai.lram.bench;

import ai.lram.bench.report.JsonReport;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * Results as JSON lines, one object each: {@code bench, case, value, unit, better, floor, peer, ratio, samples, commit, jdk, cpu, gpu} and
 * {@code low, high, note}; what is absent is {@code null}. {@code ratio} is value / floor.
 */
public final class ResultLines {
    private static final ObjectMapper MAPPER = new ObjectMapper();
    private static final int MAX_BYTES = 64 << 20;

    private ResultLines() {}

    /** One line without its end. */
    public static String line(Result r, Host host) {
        ObjectNode n = JsonReport.object();
        n.put("bench", r.bench());
        n.put("case", r.caseName());
        JsonReport.put(n, "value", r.value());
        n.put("unit", r.unit());
        n.put("better", r.better().toString());
        JsonReport.put(n, "floor", r.floor());
        JsonReport.put(n, "peer", r.peer());
        JsonReport.put(n, "ratio", r.ratio());
        n.put("samples", r.samples());
        n.put("commit", host.commit());
        n.put("jdk", host.jdk());
        n.put("cpu", host.cpu());
        n.put("gpu", host.gpu());
        JsonReport.put(n, "low", r.low());
        JsonReport.put(n, "high", r.high());
        n.put("note", r.note().isEmpty() ? null : r.note());
        return JsonReport.line(n);
    }

    /** @throws ai.lram.bench.report.ReportException if the file cannot be written */
    public static void write(Path file, List<Result> results, Host host) {
        StringBuilder s = new StringBuilder();
        results.forEach(r -> s.append(line(r, host)).append('\n'));
        JsonReport.writeText(file, s.toString());
    }

    /**
     * Reads a file of lines, as {@link #write} or a concatenation of several such files.
     *
     * @throws BenchException if the file cannot be read or a line is none of ours; it names the line
     */
    public static List<Result> read(Path file) {
        List<String> lines = lines(file);
        List<Result> results = new ArrayList<>();
        for (int i = 0; i < lines.size(); i++) {
            if (!lines.get(i).isBlank()) {
                results.add(parse(lines.get(i), file, i + 1));
            }
        }
        if (results.isEmpty()) {
            throw unusable(file, "it holds no results", null);
        }
        return results;
    }

    private static List<String> lines(Path file) {
        if (Files.exists(file) && !Files.isRegularFile(file)) {
            throw unusable(file, "it is no regular file", null);
        }
        try (InputStream in = Files.newInputStream(file)) {
            byte[] bytes = in.readNBytes(MAX_BYTES + 1);
            if (bytes.length > MAX_BYTES) {
                throw unusable(file, "at most " + MAX_BYTES + " bytes are read, it has more", null);
            }
            return StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(ByteBuffer.wrap(bytes))
                    .toString()
                    .lines()
                    .toList();
        } catch (IOException e) {
            throw unusable(file, e.toString(), e);
        }
    }

    private static Result parse(String line, Path file, int number) {
        try {
            JsonNode n = MAPPER.readTree(line);
            String better = text(n, "better");
            if (!better.equals("lower") && !better.equals("higher")) {
                throw new IllegalArgumentException("better is " + better);
            }
            return new Result(
                    text(n, "bench"),
                    text(n, "case"),
                    number(n, "value"),
                    text(n, "unit"),
                    better.equals("lower") ? Better.LOWER : Better.HIGHER,
                    number(n, "floor"),
                    number(n, "peer"),
                    n.path("samples").asLong(),
                    number(n, "low"),
                    number(n, "high"),
                    n.path("note").asText(""));
        } catch (JsonProcessingException | IllegalArgumentException e) {
            throw unusable(
                    file,
                    "line " + number + " is no result: "
                            + (e instanceof JsonProcessingException j ? j.getOriginalMessage() : e.getMessage()),
                    e);
        }
    }

    private static String text(JsonNode n, String key) {
        if (!n.path(key).isTextual()) {
            throw new IllegalArgumentException("there is no text " + key);
        }
        return n.get(key).textValue();
    }

    private static double number(JsonNode n, String key) {
        JsonNode v = n.path(key);
        if (v.isMissingNode() || v.isNull()) {
            return Double.NaN;
        }
        if (!v.isNumber()) {
            throw new IllegalArgumentException(key + " is no number");
        }
        return v.doubleValue();
    }

    private static BenchException unusable(Path file, String why, Exception cause) {
        return new BenchException(
                file + " cannot be used as results", why, "name a file that lram bench wrote with --json", cause);
    }
}
