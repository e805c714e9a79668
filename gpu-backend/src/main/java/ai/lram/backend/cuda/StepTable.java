package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendUnavailableException;
import ai.lram.backend.DType;
import ai.lram.backend.ops.StepForm;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * The fastest form of a control step's mLSTM blocks by device, sizes and number of sessions, as {@code lram bench gpu-step --forms} writes it
 * and the CUDA engine reads it.
 *
 * <p>UTF-8 text. Lines that begin with # and empty ones mean nothing; the first other line is {@link #HEADER}, each after it an entry. Columns
 * are separated by one tab. Lines do not depend on each other, so tables can be joined by hand.
 *
 * @param entries in any order, no two for the same device, sizes and number of sessions
 */
public record StepTable(List<Entry> entries) {
    /** Names the columns. */
    public static final String HEADER = "device\twidth\tinner\theads\tweights\tstate\trows\tform";

    /** In the place of a device: every one that has no entries of its own. */
    public static final String ANY = "*";

    private static final String RESOURCE = "step-forms.tsv";
    private static final int COLUMNS = HEADER.split("\t").length;
    private static final int MOST_BYTES = 1 << 20;
    private static final int MOST = 1 << 20;
    private static final int LONGEST_NAME = 256;
    private static final int SHOWN = 60;
    private static final Pattern NUMBER = Pattern.compile("[1-9][0-9]{0,6}");
    private static final Map<String, DType> TYPES = Map.of("fp32", DType.F32, "bf16", DType.BF16, "int8", DType.I8);

    public StepTable {
        entries = List.copyOf(entries);
        repeated(entries).ifPresent(e -> {
            throw new IllegalArgumentException("the entry " + e + " stands there twice; keep one");
        });
    }

    /**
     * What a block's kernels depend on.
     *
     * @param width of the stream
     * @param inner width of the block
     * @param weights type of the large matrices
     * @param state type of the matrix states
     */
    public record Size(int width, int inner, int heads, DType weights, DType state) {}

    /**
     * @param device name as the driver gives it, or {@link #ANY}
     * @param rows fewest sessions for which the form is the fastest; up to those of the next entry
     */
    public record Entry(String device, Size size, int rows, StepForm form) {
        public Entry {
            requireNumber("width", size.width());
            requireNumber("inner", size.inner());
            requireNumber("heads", size.heads());
            requireNumber("rows", rows);
            if (!TYPES.containsValue(size.weights()) || !(size.state() == DType.F32 || size.state() == DType.BF16)) {
                throw new IllegalArgumentException("weights are " + size.weights() + ", the state " + size.state()
                        + "; weights can be F32, BF16 and I8, a state F32 and BF16");
            }
            if (device.isBlank()
                    || device.startsWith("#")
                    || device.length() > LONGEST_NAME
                    || device.chars().anyMatch(Character::isISOControl)) {
                throw new IllegalArgumentException("the device's name is '" + shown(device) + "'; it has 1 to "
                        + LONGEST_NAME + " characters, none of them a control, and begins without #");
            }
        }

        private Key key() {
            return new Key(device, size, rows);
        }

        private String line() {
            return String.join(
                    "\t",
                    device,
                    Integer.toString(size.width()),
                    Integer.toString(size.inner()),
                    Integer.toString(size.heads()),
                    name(size.weights()),
                    name(size.state()),
                    Integer.toString(rows),
                    form.toString());
        }
    }

    /** What no two entries have in common. */
    private record Key(String device, Size size, int rows) {}

    /**
     * The name by which a table knows an engine's device.
     *
     * @throws IllegalArgumentException if it is no CUDA engine
     */
    public static String device(Backend engine) {
        if (engine instanceof CudaBackend cuda) {
            return cuda.device().name();
        }
        throw new IllegalArgumentException(engine.name() + " is no CUDA engine; tables are of CUDA devices");
    }

    /** The table of this build. */
    static StepTable ofBuild() {
        try (InputStream in = StepTable.class.getResourceAsStream(RESOURCE)) {
            if (in == null) {
                throw unusable(RESOURCE, "it is not among this jar's resources", "build gpu-backend with them");
            }
            return read(in, RESOURCE);
        } catch (IOException e) {
            throw unusable(RESOURCE, e.toString(), "check the jar file on the class path");
        }
    }

    /** @throws BackendUnavailableException if the file cannot be read or is none; it names the line */
    public static StepTable read(Path file) {
        String fix = "name a file that lram bench gpu-step --forms --table wrote";
        if (!Files.isRegularFile(file)) {
            throw unusable(file.toString(), Files.exists(file) ? "it is no regular file" : "it is not there", fix);
        }
        try (InputStream in = Files.newInputStream(file)) {
            return read(in, file.toString());
        } catch (IOException e) {
            throw unusable(file.toString(), e.toString(), fix);
        }
    }

    private static StepTable read(InputStream in, String source) throws IOException {
        byte[] bytes = in.readNBytes(MOST_BYTES + 1);
        if (bytes.length > MOST_BYTES) {
            throw unusable(source, "it has more than " + MOST_BYTES + " bytes", "leave out what is of other devices");
        }
        try {
            String text = StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(ByteBuffer.wrap(bytes))
                    .toString();
            return parse(source, text);
        } catch (CharacterCodingException e) {
            throw unusable(source, "it is not UTF-8", "store it as UTF-8");
        }
    }

    /**
     * @param source for errors
     * @throws BackendUnavailableException naming the line
     */
    static StepTable parse(String source, String text) {
        List<String> lines = text.lines().toList();
        List<Entry> entries = new ArrayList<>();
        Map<Key, Integer> seen = new HashMap<>();
        boolean headed = false;
        for (int i = 0; i < lines.size(); i++) {
            String line = lines.get(i);
            String at = source + ", line " + (i + 1);
            if (line.isBlank() || line.startsWith("#")) {
                continue;
            }
            if (!headed) {
                if (!line.equals(HEADER)) {
                    throw unusable(
                            at,
                            "it is '" + shown(line) + "' where the columns are named",
                            "begin with '" + HEADER.replace("\t", "<tab>") + "'");
                }
                headed = true;
                continue;
            }
            Entry e = entry(at, line);
            Integer before = seen.put(e.key(), i + 1);
            if (before != null) {
                throw unusable(at, "line " + before + " is of the same device, sizes and rows", "remove one of them");
            }
            entries.add(e);
        }
        if (!headed) {
            throw unusable(source, "it has no line that names the columns", "write it anew");
        }
        return new StepTable(entries);
    }

    private static Entry entry(String at, String line) {
        String[] cells = line.split("\t", -1);
        if (cells.length != COLUMNS) {
            throw unusable(
                    at,
                    "it has " + cells.length + " columns, not " + COLUMNS + ": '" + shown(line) + "'",
                    "separate " + HEADER.replace("\t", ", ") + " by one tab each");
        }
        try {
            Size size = new Size(
                    number("width", cells[1]),
                    number("inner", cells[2]),
                    number("heads", cells[3]),
                    type("weights", cells[4]),
                    type("state", cells[5]));
            return new Entry(cells[0], size, number("rows", cells[6]), form(cells[7]));
        } catch (IllegalArgumentException e) {
            throw unusable(at, e.getMessage(), "correct the line or remove it");
        }
    }

    private static int number(String column, String cell) {
        if (!NUMBER.matcher(cell).matches()) {
            throw new IllegalArgumentException(column + " is '" + shown(cell) + "'; it is a number in 1.." + MOST);
        }
        return Integer.parseInt(cell);
    }

    private static void requireNumber(String column, int value) {
        if (value < 1 || value > MOST) {
            throw new IllegalArgumentException(column + " is " + value + "; it is a number in 1.." + MOST);
        }
    }

    private static DType type(String column, String cell) {
        DType type = TYPES.get(cell);
        if (type == null) {
            throw new IllegalArgumentException(column + " is '" + shown(cell) + "'; it is fp32, bf16 or int8");
        }
        return type;
    }

    private static String name(DType type) {
        return TYPES.entrySet().stream()
                .filter(t -> t.getValue() == type)
                .map(Map.Entry::getKey)
                .findFirst()
                .orElseThrow();
    }

    private static StepForm form(String cell) {
        return Stream.of(StepForm.values())
                .filter(f -> f.toString().equals(cell))
                .findFirst()
                .orElseThrow(() -> new IllegalArgumentException(
                        "form is '" + shown(cell) + "'; it is one of " + List.of(StepForm.values())));
    }

    /** A line's beginning, without what would confuse a terminal. */
    private static String shown(String text) {
        String printable = text.replace("\t", "<tab>").replaceAll("\\p{C}", "?");
        return printable.length() <= SHOWN ? printable : printable.substring(0, SHOWN) + "...";
    }

    private static BackendUnavailableException unusable(String what, String why, String fix) {
        return new BackendUnavailableException("the table of step forms " + what + " cannot be used", why, fix);
    }

    private static Optional<Entry> repeated(List<Entry> entries) {
        Map<Key, Entry> seen = new HashMap<>();
        return entries.stream().filter(e -> seen.put(e.key(), e) != null).findFirst();
    }

    /** The entry with the most rows up to these, of this device and size; where there is none, of {@link #ANY} and this size. */
    Optional<StepForm> find(String device, Size size, int rows) {
        return ofDevice(device, size, rows).or(() -> ofDevice(ANY, size, rows));
    }

    private Optional<StepForm> ofDevice(String device, Size size, int rows) {
        return entries.stream()
                .filter(e -> e.device().equals(device) && e.size().equals(size) && e.rows() <= rows)
                .max(Comparator.comparingInt(Entry::rows))
                .map(Entry::form);
    }

    /** What {@link #read} takes, with {@code comments} at its head. */
    public String text(List<String> comments) {
        StringBuilder s = new StringBuilder();
        comments.stream()
                .flatMap(String::lines)
                .forEach(c -> s.append("# ").append(c).append('\n'));
        s.append(HEADER).append('\n');
        entries.forEach(e -> s.append(e.line()).append('\n'));
        return s.toString();
    }
}
