package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.BackendException.Severity;
import ai.lram.backend.BackendUnavailableException;
import ai.lram.backend.DType;
import ai.lram.backend.UnsupportedKernelException;
import ai.lram.backend.ops.StepForm;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.EnumSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class StepFormsTest {
    private static final Set<StepForm> ALL = EnumSet.allOf(StepForm.class);
    private static final StepTable.Size SMALL = size(1024);

    @TempDir
    Path temp;

    private static StepTable.Size size(int inner) {
        return new StepTable.Size(512, inner, 4, DType.BF16, DType.F32);
    }

    private static StepTable table(String device, int rows, StepForm form) {
        return new StepTable(List.of(new StepTable.Entry(device, SMALL, rows, form)));
    }

    private static StepForms forms(StepTable... tables) {
        return new StepForms("D", null, null, List.of(tables));
    }

    private static StepForm choose(StepForms forms, StepTable.Size size, int rows) {
        return forms.choose(size, rows, () -> true, ALL::contains);
    }

    private static StepForms ofProperties() {
        return StepForms.of(Device.read(new ScriptedDriver(), 0), Optional.empty());
    }

    @ParameterizedTest(name = "inner={0} rows={1} tensor cores={2}: {3}")
    @CsvSource({
        "1536,1,false,RESIDENT",
        "1536,8,false,RESIDENT",
        "1540,1,false,PHASES",
        "2560,8,false,PHASES",
        "2560,8,true,RESIDENT",
        "2564,1,true,PHASES",
        "1024,9,true,MANY",
        "4096,256,false,MANY"
    })
    void sizesThatNoTableHasFollowTheRule(int inner, int rows, boolean tensorCores, StepForm form) {
        assertEquals(form, forms().choose(size(inner), rows, () -> tensorCores, ALL::contains));
    }

    @Test
    void oneSessionWithAnFp32StateIsNotOneOfMany() {
        assertFalse(forms().many(DType.F32, 1));
        assertTrue(forms().many(DType.F32, 2));
        assertTrue(forms().many(DType.BF16, 1), "nothing else takes such a state");
        StepForms always = new StepForms("D", null, StepForm.MANY, List.of());
        assertTrue(always.many(DType.F32, 1));
        StepForms only = new StepForms("D", StepForm.RESIDENT, null, List.of());
        assertFalse(only.many(DType.F32, 9));
    }

    @Test
    void theFirstTableThatHasTheSizeCounts() {
        StepForms both = forms(table("D", 4, StepForm.PLAIN), table("*", 2, StepForm.MANY));
        assertEquals(StepForm.RESIDENT, choose(both, SMALL, 1));
        assertEquals(StepForm.MANY, choose(both, SMALL, 3));
        assertEquals(StepForm.PLAIN, choose(both, SMALL, 4));
        assertEquals(StepForm.PHASES, choose(both, size(5120), 4));
        assertEquals(StepForm.RESIDENT, choose(forms(table("E", 1, StepForm.PLAIN)), SMALL, 4));
    }

    @ParameterizedTest(name = "{0} wanted, {1} takes it: {2}")
    @CsvSource({
        "RESIDENT,PHASES+MANY,PHASES",
        "RESIDENT,MANY,MANY",
        "RESIDENT,PLAIN,PLAIN",
        "PHASES,RESIDENT+MANY,MANY",
        "MANY,RESIDENT+PHASES,PLAIN",
        "PLAIN,RESIDENT+PHASES+MANY,PLAIN"
    })
    void aFormThatDoesNotTakeAShapeGivesWayToTheNext(StepForm wanted, String taking, StepForm form) {
        Set<StepForm> takes = EnumSet.of(StepForm.PLAIN);
        for (String f : taking.split("\\+")) {
            takes.add(StepForm.valueOf(f));
        }
        StepForms always = new StepForms("D", null, wanted, List.of(table("D", 1, StepForm.MANY)));
        assertEquals(form, always.choose(SMALL, 3, () -> true, takes::contains));
        assertEquals(form, forms(table("D", 1, wanted)).choose(SMALL, 3, () -> true, takes::contains));
    }

    @Test
    void theOnlyFormGivesWayToNone() {
        StepForms only = new StepForms("D", StepForm.MANY, StepForm.PHASES, List.of(table("D", 1, StepForm.PLAIN)));
        assertEquals(StepForm.MANY, choose(only, SMALL, 3));
        UnsupportedKernelException e = assertThrows(
                UnsupportedKernelException.class,
                () -> only.choose(SMALL, 3, () -> true, form -> form != StepForm.MANY));
        assertTrue(e.getMessage().contains("as many") && e.getMessage().contains("3 rows"), e.getMessage());
        assertEquals(Severity.DEGRADE, e.severity());
    }

    @ParameterizedTest
    @ValueSource(strings = {"resident", "phases", "many", "plain", "off", "auto"})
    @SuppressWarnings("try")
    void thePropertyGoesBeforeTheTables(String name) throws IOException {
        StepForm form = name.equals("off")
                ? StepForm.PLAIN
                : name.equals("auto") ? StepForm.PHASES : StepForm.valueOf(name.toUpperCase(java.util.Locale.ROOT));
        Path file = Files.writeString(
                temp.resolve("table"), table("*", 1, StepForm.PHASES).text(List.of()));
        try (Setting table = Setting.of(StepForms.TABLE, file.toString());
                Setting set = Setting.of(StepForms.PROPERTY, name)) {
            assertEquals(form, choose(ofProperties(), SMALL, 3));
            assertEquals(name.equals("off"), StepForms.off());
        }
        assertFalse(StepForms.off());
    }

    @Test
    @SuppressWarnings("try")
    void anUnknownFormIsRefused() {
        try (Setting set = Setting.of(StepForms.PROPERTY, "sometimes")) {
            IllegalArgumentException e = assertThrows(IllegalArgumentException.class, StepFormsTest::ofProperties);
            assertTrue(e.getMessage().contains("auto, off, resident, phases, many, plain"), e.getMessage());
        }
    }

    @Test
    @SuppressWarnings("try")
    void aTableThatCannotBeReadKeepsTheEngineClosed() throws IOException {
        Path file = Files.writeString(temp.resolve("table"), "nonsense\n");
        try (Setting table = Setting.of(StepForms.TABLE, file.toString())) {
            BackendUnavailableException e =
                    assertThrows(BackendUnavailableException.class, StepFormsTest::ofProperties);
            assertTrue(e.getMessage().contains(file + ", line 1"), e.getMessage());
        }
    }
}
