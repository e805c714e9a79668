package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.BackendUnavailableException;
import ai.lram.backend.Backends;
import ai.lram.backend.DType;
import ai.lram.backend.ops.StepForm;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class StepTableTest {
    private static final StepTable.Size SMALL = new StepTable.Size(512, 1024, 4, DType.BF16, DType.F32);
    private static final StepTable.Size NARROW = new StepTable.Size(512, 1024, 4, DType.I8, DType.BF16);

    @TempDir
    Path temp;

    /** Columns separated by a blank, lines by a bar. */
    private static StepTable parse(String entries) {
        return StepTable.parse("t", StepTable.HEADER + "\n" + text(entries));
    }

    private static String text(String lines) {
        return lines.replace(' ', '\t').replace('|', '\n');
    }

    private static BackendUnavailableException refused(String text) {
        return assertThrows(BackendUnavailableException.class, () -> StepTable.parse("t", text));
    }

    @Test
    void whatIsWrittenIsRead() {
        StepTable table = new StepTable(List.of(
                new StepTable.Entry("NVIDIA H200", SMALL, 1, StepForm.RESIDENT),
                new StepTable.Entry("NVIDIA H200", SMALL, 9, StepForm.MANY),
                new StepTable.Entry(StepTable.ANY, NARROW, 1, StepForm.PHASES),
                new StepTable.Entry("Grafikkarte Nr. 5, grün", NARROW, 1 << 20, StepForm.PLAIN)));
        String text = table.text(List.of("written by a test", "two\nlines"));
        assertTrue(text.startsWith("# written by a test\n# two\n# lines\n" + StepTable.HEADER + "\n"), text);
        assertEquals(table, StepTable.parse("t", text));
        assertEquals(table, StepTable.parse("t", text.replace("\n", "\r\n\n")));
    }

    @Test
    void theEntryWithTheMostRowsUpToTheWantedOnesCounts() {
        StepTable t =
                parse("D 512 1024 4 bf16 fp32 64 plain|D 512 1024 4 bf16 fp32 2 phases|D 512 1024 4 bf16 fp32 9 many");
        assertEquals(Optional.empty(), t.find("D", SMALL, 1));
        assertEquals(Optional.of(StepForm.PHASES), t.find("D", SMALL, 2));
        assertEquals(Optional.of(StepForm.PHASES), t.find("D", SMALL, 8));
        assertEquals(Optional.of(StepForm.MANY), t.find("D", SMALL, 63));
        assertEquals(Optional.of(StepForm.PLAIN), t.find("D", SMALL, 1000));
    }

    @Test
    void aDevicesOwnEntriesGoBeforeThoseOfAny() {
        StepTable t =
                parse("* 512 1024 4 bf16 fp32 1 plain|* 512 1024 4 bf16 fp32 8 many|D 512 1024 4 bf16 fp32 4 phases");
        assertEquals(Optional.of(StepForm.PLAIN), t.find("D", SMALL, 1));
        assertEquals(Optional.of(StepForm.PHASES), t.find("D", SMALL, 4));
        assertEquals(Optional.of(StepForm.PHASES), t.find("D", SMALL, 8));
        assertEquals(Optional.of(StepForm.MANY), t.find("E", SMALL, 8));
    }

    @ParameterizedTest(name = "{0}, {1}, {2}, {3}, {4}")
    @CsvSource({
        "513,1024,4,BF16,F32",
        "512,1028,4,BF16,F32",
        "512,1024,2,BF16,F32",
        "512,1024,4,F32,F32",
        "512,1024,4,I8,F32",
        "512,1024,4,BF16,BF16"
    })
    void anotherSizeIsNotFound(int width, int inner, int heads, DType weights, DType state) {
        StepTable t = parse("* 512 1024 4 bf16 fp32 1 resident");
        assertEquals(Optional.empty(), t.find("D", new StepTable.Size(width, inner, heads, weights, state), 1));
    }

    @Test
    void theTableOfThisBuildHasWhatWasMeasured() {
        StepTable t = StepTable.ofBuild();
        StepTable.Size large = new StepTable.Size(1280, 2560, 4, DType.BF16, DType.F32);
        assertEquals(Optional.of(StepForm.RESIDENT), t.find("NVIDIA H200", SMALL, 1));
        assertEquals(Optional.of(StepForm.MANY), t.find("NVIDIA H200", SMALL, 256));
        assertEquals(Optional.of(StepForm.RESIDENT), t.find("NVIDIA H200", large, 1));
        assertEquals(Optional.of(StepForm.MANY), t.find("NVIDIA H200", large, 64));
        assertEquals(Optional.empty(), t.find("another", SMALL, 1));
    }

    @ParameterizedTest(name = "{0}: {1}")
    @CsvSource({
        "D 512 1024 4 bf16 fp32 1,it has 7 columns",
        "'D 512 1024 4 bf16 fp32 1 many ',it has 9 columns",
        "D  512 1024 4 bf16 fp32 1 many,it has 9 columns",
        "D 0 1024 4 bf16 fp32 1 many,width is '0'",
        "D 512 -4 4 bf16 fp32 1 many,inner is '-4'",
        "D 512 1024 four bf16 fp32 1 many,heads is 'four'",
        "D 512 1024 4 fp8 fp32 1 many,weights is 'fp8'",
        "D 512 1024 4 bf16 int8 1 many,'the state I8; weights can be'",
        "D 512 1024 4 bf16 fp32 +1 many,rows is '+1'",
        "D 512 1024 4 bf16 fp32 99999999999999999999 many,rows is '99999999999999999999'",
        "D 512 1024 4 bf16 fp32 1048577 many,rows is 1048577",
        "D 512 1024 4 bf16 fp32 1 fast,form is 'fast'",
        "D 512 1024 4 bf16 fp32 1 RESIDENT,form is 'RESIDENT'",
        "' 512 1024 4 bf16 fp32 1 many',the device's name is ''"
    })
    void aLineThatIsNoEntryIsNamed(String line, String why) {
        String good = "E 512 1024 4 bf16 fp32 1 many";
        BackendUnavailableException e =
                refused("# a comment\n" + StepTable.HEADER + "\n" + text(good + "|" + line + "|" + good));
        assertTrue(e.getMessage().startsWith("the table of step forms t, line 4 cannot be used"), e.getMessage());
        assertTrue(e.getMessage().contains(why), e.getMessage());
        assertTrue(e.getMessage().contains("; fix: "), e.getMessage());
    }

    @Test
    void twoLinesOfTheSameDeviceSizesAndRowsAreRefused() {
        BackendUnavailableException e = refused(StepTable.HEADER
                + "\n"
                + text("D 512 1024 4 bf16 fp32 1 many|D 512 1024 4 bf16 fp32 2 many|D 512 1024 4 bf16 fp32 1 plain"));
        assertTrue(e.getMessage().contains("line 4") && e.getMessage().contains("line 2"), e.getMessage());
        StepTable.Entry entry = new StepTable.Entry("D", SMALL, 1, StepForm.MANY);
        List<StepTable.Entry> twice = List.of(entry, new StepTable.Entry("D", SMALL, 1, StepForm.PLAIN));
        assertThrows(IllegalArgumentException.class, () -> new StepTable(twice));
    }

    @Test
    void aTextWithoutItsColumnsIsRefused() {
        assertTrue(refused("").getMessage().contains("no line that names the columns"));
        assertTrue(refused("\n# device\n").getMessage().contains("no line that names the columns"));
        BackendUnavailableException e = refused("\u001b[2J\0" + "x".repeat(500) + "\n");
        assertTrue(e.getMessage().contains("t, line 1"), e.getMessage());
        assertTrue(e.getMessage().chars().noneMatch(Character::isISOControl), e.getMessage());
        assertTrue(e.getMessage().length() < 400, e.getMessage());
    }

    @Test
    void anEntryThatCouldNotBeReadIsNotWritten() {
        for (String name : List.of("", " ", "#5", "a\tb", "a\nb", "x".repeat(257))) {
            assertThrows(
                    IllegalArgumentException.class, () -> new StepTable.Entry(name, SMALL, 1, StepForm.MANY), name);
        }
        assertThrows(IllegalArgumentException.class, () -> new StepTable.Entry("D", SMALL, 0, StepForm.MANY));
        StepTable.Size none = new StepTable.Size(0, 1024, 4, DType.BF16, DType.F32);
        assertThrows(IllegalArgumentException.class, () -> new StepTable.Entry("D", none, 1, StepForm.MANY));
        StepTable.Size odd = new StepTable.Size(512, 1024, 4, DType.U8, DType.F32);
        assertThrows(IllegalArgumentException.class, () -> new StepTable.Entry("D", odd, 1, StepForm.MANY));
    }

    @Test
    void aFileThatIsNoneIsRefused() throws IOException {
        Path bytes = Files.write(temp.resolve("bytes"), new byte[] {'#', (byte) 0xff, '\n'});
        Path large = Files.write(temp.resolve("large"), new byte[(1 << 20) + 1]);
        for (Path file : List.of(temp, temp.resolve("none"), Path.of("/dev/zero"), bytes, large)) {
            BackendUnavailableException e =
                    assertThrows(BackendUnavailableException.class, () -> StepTable.read(file), file.toString());
            assertTrue(e.getMessage().contains(file.toString()), e.getMessage());
        }
    }

    @Test
    void onlyACudaEngineHasADevice() {
        try (Backend cpu = Backends.open("cpu", BackendOptions.threads(1))) {
            assertThrows(IllegalArgumentException.class, () -> StepTable.device(cpu));
        }
    }
}
