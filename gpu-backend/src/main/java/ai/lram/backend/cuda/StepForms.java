package ai.lram.backend.cuda;

import ai.lram.backend.DType;
import ai.lram.backend.UnsupportedKernelException;
import ai.lram.backend.ops.MlstmBlockState;
import ai.lram.backend.ops.MlstmBlockWeights;
import ai.lram.backend.ops.StepForm;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.BooleanSupplier;
import java.util.function.Predicate;
import java.util.stream.Stream;

/**
 * Chooses the form of a control step's mLSTM blocks. What is wanted is said by, the first that says something:
 *
 * <ol>
 *   <li>the engine's options, which take no other form;
 *   <li>the property {@value #PROPERTY};
 *   <li>the table in the file that {@value #TABLE} names, then that of this build ({@link StepTable});
 *   <li>the rule for sizes that no table has: up to 8 sessions one launch, or three a block where the inner width is above 2560 with products on
 *       tensor cores and above 1536 without; more sessions in the kernels of many.
 * </ol>
 *
 * A form that does not take the shape gives way to the next one of {@link StepForm}.
 */
final class StepForms {
    /** A form's name; {@code off} for plain kernels at both ends of the step too; {@code auto} for a choice by table and rule. */
    static final String PROPERTY = "lram.cuda.step";

    /** A file that is asked before the table of this build. */
    static final String TABLE = "lram.cuda.step.table";

    private static final String AUTO = "auto";
    private static final String OFF = "off";

    /** Inner width up to which one launch is faster: with products on tensor cores, whose weights fit into its registers, and with dot products. */
    private static final int RESIDENT_BF16 = 2560;

    private static final int RESIDENT_INNER = 1536;

    /** Most sessions of a launch: beyond, the kernels of many. */
    private static final int MOST_ROWS = 8;

    private final String device;
    private final StepForm only;
    private final StepForm always;
    private final List<StepTable> tables;

    /**
     * @param only null where there is a choice; likewise {@code always}, which gives way to others
     * @param tables the first one that has the size counts
     */
    StepForms(String device, StepForm only, StepForm always, List<StepTable> tables) {
        this.device = device;
        this.only = only;
        this.always = always;
        this.tables = List.copyOf(tables);
    }

    /**
     * As properties and tables say now.
     *
     * @throws ai.lram.backend.BackendUnavailableException if a table cannot be read
     */
    static StepForms of(Device device, Optional<StepForm> only) {
        List<StepTable> tables = new ArrayList<>();
        String file = System.getProperty(TABLE, "");
        if (!file.isEmpty()) {
            tables.add(StepTable.read(Path.of(file)));
        }
        tables.add(StepTable.ofBuild());
        return new StepForms(device.name(), only.orElse(null), always(), tables);
    }

    /** Whether a step is to be put together from plain kernels, from its observations to its actions. */
    static boolean off() {
        return property().equals(OFF);
    }

    private static String property() {
        String form = System.getProperty(PROPERTY, AUTO);
        List<String> names = Stream.concat(
                        Stream.of(AUTO, OFF), Stream.of(StepForm.values()).map(StepForm::toString))
                .toList();
        if (!names.contains(form)) {
            throw new IllegalArgumentException(
                    "-D" + PROPERTY + "=" + form + " is none of " + names + "; choose one of these");
        }
        return form;
    }

    private static StepForm always() {
        String form = property();
        return switch (form) {
            case AUTO -> null;
            case OFF -> StepForm.PLAIN;
            default ->
                Stream.of(StepForm.values())
                        .filter(f -> f.toString().equals(form))
                        .findFirst()
                        .orElseThrow();
        };
    }

    /**
     * @param tensorCores whether the block step's products would run on tensor cores; asked if the rule must know
     * @param takes whether the kernels of a form take this shape; {@link StepForm#PLAIN} takes all
     * @throws UnsupportedKernelException if there is but one form, and it does not take this shape
     */
    StepForm choose(StepTable.Size size, int rows, BooleanSupplier tensorCores, Predicate<StepForm> takes) {
        StepForm form = wanted(size, rows, tensorCores);
        if (only != null && !takes.test(only)) {
            throw new UnsupportedKernelException(
                    "mLSTM blocks of a control step as " + only,
                    "this form does not take " + rows + " rows of width " + size.width() + ", inner width "
                            + size.inner()
                            + ", " + size.heads() + " heads, weights in " + size.weights() + ", state in "
                            + size.state() + " on " + device,
                    "open the engine without a form, so that it takes another one");
        }
        while (form != StepForm.PLAIN && !takes.test(form)) {
            form = StepForm.values()[form.ordinal() + 1];
        }
        return form;
    }

    /**
     * Whether the kernels of many can be the choice, for some sizes and up to so many sessions. A state in bf16 has no other; of one in fp32 a session
     * by itself is taken not to need them, without a look at tables and sizes: where they are its choice all the same, they do without a copy in fp16.
     */
    boolean many(DType state, int sessions) {
        if (only != null) {
            return only == StepForm.MANY;
        }
        if (always != null) {
            return always != StepForm.PLAIN;
        }
        return state == DType.BF16 || sessions > 1;
    }

    static StepTable.Size size(MlstmBlockWeights w, MlstmBlockState state) {
        return new StepTable.Size(
                w.width(),
                w.inner(),
                w.heads(),
                LargeWeights.data(w.down()).dtype(),
                state.slots().matC().dtype());
    }

    private StepForm wanted(StepTable.Size size, int rows, BooleanSupplier tensorCores) {
        if (only != null) {
            return only;
        }
        if (always != null) {
            return always;
        }
        for (StepTable table : tables) {
            Optional<StepForm> found = table.find(device, size, rows);
            if (found.isPresent()) {
                return found.get();
            }
        }
        return byRule(size.inner(), rows, tensorCores);
    }

    private static StepForm byRule(int inner, int rows, BooleanSupplier tensorCores) {
        if (rows > MOST_ROWS) {
            return StepForm.MANY;
        }
        boolean narrow = inner <= RESIDENT_INNER || inner <= RESIDENT_BF16 && tensorCores.getAsBoolean();
        return narrow ? StepForm.RESIDENT : StepForm.PHASES;
    }
}
