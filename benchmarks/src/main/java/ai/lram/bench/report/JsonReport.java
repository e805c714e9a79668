package ai.lram.bench.report;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/** JSON files of results. Keys keep the order in which they were put. NaN and infinities, which JSON has not, become null. */
public final class JsonReport {
    private static final ObjectMapper MAPPER = new ObjectMapper();

    private JsonReport() {}

    public static ObjectNode object() {
        return MAPPER.createObjectNode();
    }

    /** Puts a number, or null where it is not finite. */
    public static void put(ObjectNode to, String key, double value) {
        if (Double.isFinite(value)) {
            to.put(key, value);
        } else {
            to.putNull(key);
        }
    }

    /** One line without its end. */
    public static String line(JsonNode node) {
        try {
            return MAPPER.writeValueAsString(node);
        } catch (JsonProcessingException e) {
            throw new ReportException(
                    "cannot write results as JSON", e.getOriginalMessage(), "report only finite numbers and text", e);
        }
    }

    /** Lines as made by {@link #line}. @throws ReportException if the file cannot be written */
    public static void writeText(Path file, String lines) {
        ReportFiles.write(file, lines.getBytes(StandardCharsets.UTF_8));
    }

    /** @throws ReportException if the file cannot be written */
    public static void write(Path file, JsonNode node) {
        try {
            String text = MAPPER.writerWithDefaultPrettyPrinter().writeValueAsString(node) + "\n";
            ReportFiles.write(file, text.getBytes(StandardCharsets.UTF_8));
        } catch (JsonProcessingException e) {
            throw new ReportException(
                    "cannot write " + file, e.getOriginalMessage(), "report only finite numbers and text", e);
        }
    }
}
