package ai.lram.agent.export;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.CardException;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.checkpoint.CardJson;
import ai.lram.agent.checkpoint.ConfigJson;
import ai.lram.agent.export.OnnxOptions.Form;
import ai.lram.agent.export.OnnxOptions.Weights;
import ai.lram.agent.export.schema.ModelProto;
import ai.lram.agent.export.schema.NodeProto;
import ai.lram.agent.export.schema.TensorProto;
import ai.lram.agent.export.schema.TensorShapeProto.Dimension;
import ai.lram.agent.export.schema.ValueInfoProto;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.testing.Cards;
import ai.lram.agent.testing.LiveModels;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.ops.MlstmSpec;
import ai.onnxruntime.OrtException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What an exported file holds, and what is refused. */
class OnnxFileTest {
    private static final TaskCard MOVE = Cards.continuous("move", 5, 2);
    private static final TaskCard CHOICE = Cards.discrete("choose", 3, 3);
    private static final TaskCard WATCH = Cards.image("watch", 3);
    private static final ModelCard CARD = Cards.model(MOVE, CHOICE);

    private static Backend backend;
    private static Lram model;

    @TempDir
    Path folder;

    @BeforeAll
    static void open() {
        backend = Backends.open("cpu", BackendOptions.threads(1));
        model = LiveModels.of(backend, config(false, 64, List.of(1)));
    }

    @AfterAll
    static void close() {
        model.close();
        backend.close();
    }

    private static LramConfig config(boolean images, int width, List<Integer> slstmAt) {
        return new LramConfig(6, 2, 4, 32, images, false, new XlstmConfig(width, 2, 2, slstmAt));
    }

    private static ModelProto read(Path file) throws IOException {
        return ModelProto.parseFrom(Files.readAllBytes(file));
    }

    private static Map<String, String> metadata(ModelProto m) {
        return m.getMetadataPropsList().stream().collect(Collectors.toMap(p -> p.getKey(), p -> p.getValue()));
    }

    @ParameterizedTest(name = "{0} {1}")
    @CsvSource({"STEP, FP32", "TOKEN, FP32", "STEP, INT8", "TOKEN, INT8"})
    void isAWholeGraphOfKnownValues(Form form, Weights weights) throws IOException, OrtException {
        Path file = folder.resolve("m.onnx");
        OnnxOptions options = OnnxOptions.defaults().withForm(form).withWeights(weights);
        OnnxExport.Summary summary = OnnxExport.write(file, model, CARD, options);
        assertEquals(Files.size(file), summary.bytes());
        ModelProto m = read(file);
        assertEquals(8, m.getIrVersion());
        assertEquals(1, m.getOpsetImportCount());
        assertEquals("", m.getOpsetImport(0).getDomain());
        assertTrue(m.getOpsetImport(0).getVersion() >= 17);
        assertEquals(summary.nodes(), m.getGraph().getNodeCount());
        Set<String> known = new HashSet<>();
        Set<String> unused = new HashSet<>();
        for (TensorProto t : m.getGraph().getInitializerList()) {
            long n = t.getDimsList().stream().reduce(1L, (a, b) -> a * b);
            int width =
                    switch (TensorProto.DataType.forNumber(t.getDataType())) {
                        case INT64 -> 8;
                        case FLOAT -> 4;
                        default -> 1;
                    };
            assertEquals(n * width, t.getRawData().size(), t.getName());
            assertTrue(known.add(t.getName()), t.getName());
            unused.add(t.getName());
        }
        for (ValueInfoProto v : m.getGraph().getInputList()) {
            assertTrue(known.add(v.getName()), v.getName());
            unused.add(v.getName());
        }
        for (NodeProto n : m.getGraph().getNodeList()) {
            for (String in : n.getInputList()) {
                assertTrue(known.contains(in), n.getName() + " reads " + in + " before it is there");
                unused.remove(in);
            }
            n.getOutputList().forEach(o -> assertTrue(known.add(o), o + " is made twice"));
        }
        assertEquals(Set.of(), unused);
        for (ValueInfoProto v : m.getGraph().getOutputList()) {
            assertTrue(known.contains(v.getName()), v.getName());
        }
        try (ExportedSession s = new ExportedSession(file, 1)) {
            assertEquals(
                    summary.inputs().stream().map(OnnxPort::name).collect(Collectors.toSet()),
                    s.session().getInputNames());
            assertEquals(
                    summary.outputs().stream().map(OnnxPort::name).collect(Collectors.toSet()),
                    s.session().getOutputNames());
            assertEquals(metadata(m), s.session().getMetadata().getCustomMetadata());
            assertEquals("lram-runtime", s.session().getMetadata().getProducerName());
        }
    }

    @Test
    void metadataDescribesInputsStatesAndTheModel() throws IOException {
        Path file = folder.resolve("m.onnx");
        OnnxExport.Summary summary =
                OnnxExport.write(file, model, CARD, OnnxOptions.defaults().withTasks(List.of("choose", "move")));
        ModelProto m = read(file);
        Map<String, String> notes = metadata(m);
        ObjectMapper json = new ObjectMapper();
        assertEquals("step", notes.get("lram.form"));
        assertEquals("fp32", notes.get("lram.weights"));
        assertEquals(json.readTree("[\"choose\", \"move\"]"), json.readTree(notes.get("lram.tasks")));
        assertEquals(
                List.of(CHOICE, MOVE),
                CardJson.read(notes.get("lram.card").getBytes(StandardCharsets.UTF_8), "card")
                        .tasks());
        assertEquals(
                model.config(),
                ConfigJson.read(notes.get("lram.config").getBytes(StandardCharsets.UTF_8), "config")
                        .config());
        assertTrue(notes.get("lram.normalisation").contains("(x - mean) / std"));
        JsonNode inputs = json.readTree(notes.get("lram.inputs"));
        assertEquals(summary.inputs().size(), inputs.size());
        JsonNode matC = null;
        for (int i = 0; i < inputs.size(); i++) {
            assertEquals(
                    m.getGraph().getInput(i).getName(),
                    inputs.get(i).get("name").textValue());
            matC = inputs.get(i).get("name").textValue().equals("state.0.C") ? inputs.get(i) : matC;
        }
        assertEquals(json.readTree("[\"batch\", 2, 64, 64]"), matC.get("shape"));
        assertEquals("float", matC.get("type").textValue());
        JsonNode states = json.readTree(notes.get("lram.states"));
        assertEquals(Set.of("C", "n", "m", "conv"), fields(states, "state.0."));
        assertEquals(Set.of("cell", "conv"), fields(states, "state.1."));
        assertEquals("next.1.cell", states.get("state.1.cell").textValue());
    }

    private static Set<String> fields(JsonNode states, String prefix) {
        Set<String> names = new HashSet<>();
        states.fieldNames().forEachRemaining(n -> {
            if (n.startsWith(prefix)) {
                names.add(n.substring(prefix.length()));
            }
        });
        return names;
    }

    @Test
    void theBatchIsOpenOrFixed() throws IOException {
        Path file = folder.resolve("m.onnx");
        OnnxExport.write(file, model, CARD, OnnxOptions.defaults());
        Dimension open = firstDimension(read(file));
        assertEquals("batch", open.getDimParam());
        OnnxExport.write(file, model, CARD, OnnxOptions.defaults().withBatch(3));
        assertEquals(3, firstDimension(read(file)).getDimValue());
        assertThrows(ExportException.class, () -> OnnxOptions.defaults().withBatch(-1));
    }

    private static Dimension firstDimension(ModelProto m) {
        return m.getGraph().getInput(0).getType().getTensorType().getShape().getDim(0);
    }

    @Test
    void theFileAppearsWholeOrNotAtAll() throws IOException {
        Path file = folder.resolve("m.onnx");
        Files.writeString(file, "what was there");
        assertThrows(
                ExportException.class,
                () -> OnnxExport.write(file, model, Cards.model(MOVE, WATCH), OnnxOptions.defaults()));
        assertEquals("what was there", Files.readString(file));
        OnnxExport.write(file, model, CARD, OnnxOptions.defaults());
        byte[] first = Files.readAllBytes(file);
        OnnxExport.write(file, model, CARD, OnnxOptions.defaults());
        assertArrayEquals(first, Files.readAllBytes(file), "the same model gives the same bytes");
        assertEquals(List.of("m.onnx"), names());
        Path nowhere = folder.resolve("none/m.onnx");
        assertTrue(refused(() -> OnnxExport.write(nowhere, model, CARD, OnnxOptions.defaults()))
                .contains("the folder exists"));
        Path taken = Files.createDirectory(folder.resolve("taken"));
        assertTrue(refused(() -> OnnxExport.write(taken, model, CARD, OnnxOptions.defaults()))
                .contains("a folder of that name"));
        assertEquals(List.of("m.onnx", "taken"), names());
    }

    @Test
    void refusesWhatTheGraphCannotHold() {
        Path file = folder.resolve("m.onnx");
        OnnxOptions all = OnnxOptions.defaults();
        assertTrue(refused(() -> OnnxExport.write(file, model, Cards.model(MOVE, WATCH), all))
                .contains("watch is observed by images"));
        assertTrue(refused(() -> OnnxExport.write(file, model, Cards.model(Cards.continuous("wide", 7, 1)), all))
                .contains("7 observations"));
        assertThrows(CardException.class, () -> OnnxExport.write(file, model, CARD, all.withTasks(List.of("chess"))));
        assertTrue(refused(() -> all.withTasks(List.of("move", "move"))).contains("named twice"));
        MlstmSpec sigmoid = new MlstmSpec(MlstmSpec.InputGate.SIGMOID, true, 1e-6f, true, 0);
        try (Lram other = new Lram(config(false, 32, List.of()), sigmoid)) {
            assertTrue(refused(() -> OnnxExport.write(file, other, CARD, all)).contains("SIGMOID"));
        }
        assertTrue(Files.notExists(file));
    }

    @Test
    void refusesAFileAboveTheLimitBeforeAnyByteIsWritten() throws IOException {
        Path file = folder.resolve("m.onnx");
        LramConfig large = new LramConfig(6, 2, 4, 32, false, false, XlstmConfig.mlstm(4096, 6, 4));
        try (Lram other = new Lram(large)) {
            String message = refused(() -> OnnxExport.write(file, other, CARD, OnnxOptions.defaults()));
            assertTrue(message.contains("at most 2147483647"), message);
            // 6 blocks of 3 * 8192 * 4096 weights, and little else.
            assertTrue(message.contains("would have 24"), message);
        }
        assertEquals(List.of(), names());
    }

    @Test
    void vectorTasksOfAModelWithImagesAreExported() throws OrtException {
        Path file = folder.resolve("m.onnx");
        try (Lram seeing = LiveModels.of(backend, config(true, 32, List.of()))) {
            OnnxOptions options = OnnxOptions.defaults().withTasks(List.of("move"));
            OnnxExport.write(file, seeing, Cards.model(WATCH, MOVE), options);
            try (ExportedSession s = new ExportedSession(file, 1)) {
                assertTrue(s.session().getInputNames().contains("observation"));
            }
        }
    }

    private static String refused(Runnable call) {
        String message = assertThrows(ExportException.class, call::run).getMessage();
        assertTrue(message.contains("; why: ") && message.contains("; fix: "), message);
        return message;
    }

    private List<String> names() throws IOException {
        try (var files = Files.list(folder)) {
            return files.map(p -> p.getFileName().toString()).sorted().toList();
        }
    }
}
