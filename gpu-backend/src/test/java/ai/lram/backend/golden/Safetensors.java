package ai.lram.backend.golden;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** A golden file in memory: an 8-byte little-endian header length, a JSON header, the tensors. Numbers are handed out as F32. */
public final class Safetensors {
    /** Tolerance where a file states no floor for a tensor, and the smallest tolerance used. */
    public static final double FLOOR = 2e-6;

    private final Path file;
    private final Map<String, Object> header;
    private final Map<String, Object> metadata;
    private final ByteBuffer data;

    private Safetensors(Path file, Map<String, Object> header, Map<String, Object> metadata, ByteBuffer data) {
        this.file = file;
        this.header = header;
        this.metadata = metadata;
        this.data = data;
    }

    /** The folder that holds {@code xlstm/}, {@code lram/} and the others. */
    public static Path folder() {
        String named = System.getProperty("lram.golden");
        if (named != null && !named.isBlank()) {
            return Path.of(named);
        }
        URL url = Safetensors.class.getResource("/golden");
        if (url == null) {
            throw new IllegalStateException("no folder golden among the test resources; set -Dlram.golden=FOLDER");
        }
        if (!url.getProtocol().equals("file")) {
            throw new IllegalStateException(
                    "golden files inside " + url + " cannot be read as files; set -Dlram.golden=FOLDER");
        }
        try {
            return Path.of(url.toURI());
        } catch (URISyntaxException e) {
            throw new IllegalStateException("golden folder at " + url, e);
        }
    }

    /** Opens {@code folder()/name.safetensors}, for example {@code xlstm/mlstm_s64}. */
    public static Safetensors open(String name) {
        return read(folder().resolve(name + ".safetensors"));
    }

    public static Safetensors read(Path file) {
        byte[] bytes;
        try {
            bytes = Files.readAllBytes(file);
        } catch (IOException e) {
            throw new UncheckedIOException("golden file " + file, e);
        }
        ByteBuffer b = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
        if (bytes.length < 8 || b.getLong(0) < 2 || b.getLong(0) > bytes.length - 8) {
            throw new IllegalArgumentException(file + " is no safetensors file: its header length is wrong");
        }
        int length = (int) b.getLong(0);
        Map<String, Object> header = new Json(new String(bytes, 8, length, StandardCharsets.UTF_8)).object();
        Map<String, Object> metadata = Map.of();
        if (header.remove("__metadata__") instanceof Map<?, ?> m) {
            metadata = new LinkedHashMap<>();
            for (Map.Entry<?, ?> e : m.entrySet()) {
                metadata.put((String) e.getKey(), e.getValue());
            }
        }
        return new Safetensors(
                file,
                header,
                metadata,
                b.slice(8 + length, bytes.length - 8 - length).order(ByteOrder.LITTLE_ENDIAN));
    }

    public Path file() {
        return file;
    }

    /** Tensor names in file order. */
    public Set<String> names() {
        return header.keySet();
    }

    public boolean has(String name) {
        return header.containsKey(name);
    }

    public int[] shape(String name) {
        List<?> dims = (List<?>) entry(name).get("shape");
        return dims.stream().mapToInt(d -> ((Number) d).intValue()).toArray();
    }

    /** F32, or F64, I64, I32 and U8 converted. */
    public float[] f32(String name) {
        Map<?, ?> e = entry(name);
        List<?> range = (List<?>) e.get("data_offsets");
        int from = ((Number) range.get(0)).intValue();
        int to = ((Number) range.get(1)).intValue();
        int n = 1;
        for (int d : shape(name)) {
            n *= d;
        }
        float[] a = new float[n];
        ByteBuffer b = data.slice(from, to - from).order(ByteOrder.LITTLE_ENDIAN);
        String dtype = (String) e.get("dtype");
        for (int i = 0; i < n; i++) {
            a[i] = switch (dtype) {
                case "F32" -> b.getFloat(4 * i);
                case "F64" -> (float) b.getDouble(8 * i);
                case "I64" -> b.getLong(8 * i);
                case "I32" -> b.getInt(4 * i);
                case "U8" -> b.get(i) & 0xff;
                default -> throw new IllegalArgumentException(file + ": " + name + " has dtype " + dtype);
            };
        }
        return a;
    }

    /** Metadata text, or null. */
    public String metadata(String key) {
        Object v = metadata.get(key);
        return v == null ? null : v.toString();
    }

    /** Relative deviation of the peer's own float32 run for this tensor; NaN where the file states none. */
    public double f32err(String name) {
        String v = metadata("f32err:" + name);
        return v == null ? Double.NaN : Double.parseDouble(v);
    }

    /** max(4 * f32err, 2e-6) of the tensor's largest value. */
    public double tolerance(String name) {
        double floor = f32err(name);
        return Double.isNaN(floor) ? FLOOR : Math.max(4 * floor, FLOOR);
    }

    private Map<?, ?> entry(String name) {
        if (header.get(name) instanceof Map<?, ?> e) {
            return e;
        }
        throw new IllegalArgumentException(file + " holds no tensor " + name + "; it has " + names());
    }

    /** As much JSON as such headers hold. */
    private static final class Json {
        private final String text;
        private int at;

        Json(String text) {
            this.text = text;
        }

        Map<String, Object> object() {
            Map<String, Object> m = new LinkedHashMap<>();
            expect('{');
            if (peek() == '}') {
                at++;
                return m;
            }
            do {
                String key = string();
                expect(':');
                m.put(key, value());
            } while (next(','));
            expect('}');
            return m;
        }

        private Object value() {
            char c = peek();
            if (c == '{') {
                return object();
            }
            if (c == '"') {
                return string();
            }
            if (c == '[') {
                List<Object> list = new ArrayList<>();
                expect('[');
                if (next(']')) {
                    return list;
                }
                do {
                    list.add(value());
                } while (next(','));
                expect(']');
                return list;
            }
            int from = at;
            while (at < text.length() && "+-.0123456789eE".indexOf(text.charAt(at)) >= 0) {
                at++;
            }
            if (from == at) {
                throw new IllegalArgumentException("unexpected '" + c + "' at character " + at + " of the header");
            }
            String number = text.substring(from, at);
            return number.matches("-?\\d+") ? (Object) Long.valueOf(number) : (Object) Double.valueOf(number);
        }

        private String string() {
            expect('"');
            StringBuilder b = new StringBuilder();
            while (text.charAt(at) != '"') {
                char c = text.charAt(at++);
                if (c != '\\') {
                    b.append(c);
                    continue;
                }
                char e = text.charAt(at++);
                if (e == 'u') {
                    b.append((char) Integer.parseInt(text.substring(at, at + 4), 16));
                    at += 4;
                } else {
                    b.append("nrtbf".indexOf(e) < 0 ? e : "\n\r\t\b\f".charAt("nrtbf".indexOf(e)));
                }
            }
            at++;
            return b.toString();
        }

        private char peek() {
            while (at < text.length() && Character.isWhitespace(text.charAt(at))) {
                at++;
            }
            if (at == text.length()) {
                throw new IllegalArgumentException("the header ends early");
            }
            return text.charAt(at);
        }

        private boolean next(char c) {
            if (peek() == c) {
                at++;
                return true;
            }
            return false;
        }

        private void expect(char c) {
            if (!next(c)) {
                throw new IllegalArgumentException("expected '" + c + "' at character " + at + " of the header");
            }
        }
    }
}
