package ai.lram.agent.checkpoint;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;

/** Strict JSON: no duplicate keys, nothing after the value. */
final class Json {
    static final ObjectMapper MAPPER = JsonMapper.builder(JsonFactory.builder()
                    .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
                    .build())
            .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
            .build();

    private Json() {}

    /** @throws CorruptCheckpointException if {@code bytes} are not exactly one JSON object with unique keys */
    static ObjectNode object(byte[] bytes, String where) {
        JsonNode node;
        try {
            node = MAPPER.readTree(bytes);
        } catch (JsonProcessingException e) {
            throw new CorruptCheckpointException(
                    where + " holds broken JSON",
                    e.getOriginalMessage()
                            + (e.getLocation() == null
                                    ? ""
                                    : " (line " + e.getLocation().getLineNr() + ", column "
                                            + e.getLocation().getColumnNr() + ")"),
                    "copy or export the file again",
                    e);
        } catch (IOException e) {
            throw new CorruptCheckpointException(
                    where + " holds broken text", e.toString(), "copy or export the file again", e);
        }
        if (!(node instanceof ObjectNode o)) {
            throw new CorruptCheckpointException(
                    where + " holds no JSON object", "found " + node.getNodeType(), "copy or export the file again");
        }
        return o;
    }

    static byte[] bytes(JsonNode node, boolean pretty) {
        try {
            return pretty
                    ? (MAPPER.writerWithDefaultPrettyPrinter().writeValueAsString(node) + "\n")
                            .getBytes(java.nio.charset.StandardCharsets.UTF_8)
                    : MAPPER.writeValueAsBytes(node);
        } catch (JsonProcessingException e) {
            throw new UncheckedIOException(e);
        }
    }
}
