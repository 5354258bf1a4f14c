"""What other modules write in English into a report and a page can show in another language.

A sentence stands here as it is written there, with a {name} for each value that is put in; {text} is a value that is a
sentence itself. A test holds the sources of the other modules against this file.
"""


def N_(text: str) -> str:
    """Marks a text for the catalogues; it is translated where it is shown."""
    return text


LABELS = (
    N_("normal"),
    N_("adrenal"),
    N_("retroperitoneum"),
    N_("thorax"),
    N_("other"),
    "L1",  # as the INRG staging system writes them
    "L2",
    "M",
    "MS",
    "1",  # as the INSS writes them
    "2A",
    "2B",
    "3",
    "4",
    "4S",
)

# What stands for a value {found}, {wanted} or {value}; all of it or word by word.
WORDS = (
    N_("axial"),
    N_("coronal"),
    N_("sagittal"),
    N_("unknown"),
    N_("missing"),
    N_("not known"),
    N_("encapsulated"),
    N_("not encapsulated"),
    N_("or"),
    N_("to"),
)

# Names of stacks.
PARTS = (
    N_("axial"),
    N_("coronal"),
    N_("sagittal"),
    N_("no position"),
    N_("{number} rows"),
    N_("{number} columns"),
    N_("{size} mm a pixel"),
    N_("no b-value"),
    N_("no echo time"),
    N_("echo {time} ms"),
    N_("part {number} of {count}"),
    N_("stack {number} of {count}"),
    N_("image {number} of each place"),
    N_("image type {value}"),
    N_("temporal position {value}"),
    N_("diffusion direction {value}"),
    N_("stack {value}"),
    N_("acquisition {value}"),
    N_("trigger time {value}"),
    N_("image type not given"),
    N_("temporal position not given"),
    N_("diffusion direction not given"),
    N_("stack not given"),
    N_("acquisition not given"),
    N_("trigger time not given"),
)

SENTENCES = (
    # Of a study and its stage.
    N_("Synthetic: (0028,0300) Quality Control Image is YES, so this is a phantom and no patient."),
    N_("{count} series were analysed: {names}."),
    N_("No series of this study could be analysed."),
    N_("No lesion was found; the highest tumour probability at any single place is {probability}."),
    N_("The stage is suggested by the images alone."),
    N_("The patient's age is not known: M and MS cannot be told apart."),
    N_("At 18 months or more MS is excluded by definition; what looked like MS counts as M."),
    N_("The patient's age is not known: 4 and 4S cannot be told apart."),
    N_("At 12 months or more 4S is excluded by definition; what looked like 4S counts as 4."),
    N_(
        "The tumour looks localised. INSS 1, 2A and 2B differ in resection and in lymph nodes under the microscope: "
        "which of them it is cannot be determined from MR alone."
    ),
    # Of a series.
    N_("none of its images can be read"),
    N_("{bad} of its {count} images cannot be read"),
    N_("another series was asked for"),
    N_("rule {name}: {text}"),
    N_("weighting is {found}, not {wanted}"),
    N_("plane is {found}, not {wanted}"),
    N_("b-value is {found}, not {wanted}"),
    N_("description {description} does not match {pattern}"),
    N_("description {description} matches {pattern}, which is excluded"),
    N_("{count} slices are fewer than {least}"),
    N_("{text}: the image stands alone and has no millimetres"),
    N_("several images stand at each place; only (0020,0013) Instance Number tells them apart"),
    N_("the usual step is {usual} mm, a gap of {gap} mm splits the series; nothing is interpolated"),
    # Of its DICOM objects.
    N_("No DICOM objects were written: {text}."),
    N_("In the DICOM objects {text}."),
    N_(
        "The DICOM SR has no places in the patient: (0020,0052) Frame of Reference UID is missing, not valid or not "
        "the same in all images."
    ),
    N_("header cannot be read again: {text}"),
    N_("{element} {uid} is no valid UID"),
    N_("{element} cannot be copied"),
    N_("{element} is not copied: {text}"),
    N_("{element} is not copied: it cannot be read"),
    N_("(0008,0005) Specific Character Set is missing or not known, and it is not plain ASCII"),
    N_("it cannot be decoded by (0008,0005) Specific Character Set"),
    N_("it has several values"),
    N_("it is no value of VR {name}"),
    N_("it is none of {names}"),
    # Of frames.
    N_("frame {numbers} refused: {text}"),
    N_("frames {numbers} refused: {text}"),
    N_("frame {numbers} ignored: {text}"),
    N_("frames {numbers} ignored: {text}"),
    # Of files that are no images.
    N_("not a DICOM file (PS3.10)"),
    N_("DICOMDIR; the files themselves are read"),
    N_("a result of nbcad, no image of a scanner"),
    N_("a zip within the input is not opened; give it by itself"),
    N_("no regular file, but a pipe, socket or device"),
    N_("symbolic link to a folder; give that folder itself"),
    N_("cannot be read: {error}"),
    N_("the zip holds two members of this name; unpack it"),
    N_("member of the zip is encrypted; unpack it"),
    N_("member of the zip is packed by another method than deflate; unpack it"),
    N_("member of the zip says that it unpacks to {count} bytes; at most 2 GiB are read"),
    N_("takes more bytes or elements to read than any sound file of its kind"),
    N_("takes more than {seconds} s to read"),
    # Of headers.
    N_("header cannot be read: {text}"),
    N_("functional groups cannot be read: {text}"),
    N_("{element} cannot be read: {text}"),
    N_("{element} is missing"),
    N_("{element} is {value}, not {count} finite numbers"),
    N_("(0028,0030) Pixel Spacing is missing or not positive; nothing can be measured without it"),
    N_("(0028,0030) Pixel Spacing {value} makes the image wider than any MR scanner's field"),
    N_("(0020,0037) Image Orientation (Patient) {value} is no pair of orthogonal unit vectors"),
    N_("(0020,0032) Image Position (Patient) {value} is farther off than any scanner reaches"),
    N_("(0020,0032) Image Position (Patient) and all pixels are those of {path}"),
    N_("(0008,0018) SOP Instance UID is that of {path}"),
    N_("(0028,1053) Rescale Slope is {slope}, (0028,1052) Rescale Intercept is {intercept}"),
    N_("(0028,1053) Rescale Slope {value} makes pixels that are no finite float32 numbers"),
    N_("(0028,1053) Rescale Slope {value} makes all pixels equal"),
    N_("(0002,0010) Transfer Syntax UID is deflated, and inflates to more than {count} bytes"),
    N_("(0002,0010) Transfer Syntax UID is deflated, and not at the place where files have it"),
    N_("(0002,0010) Transfer Syntax UID is {value}, which is not read"),
    N_("(0008,0016) SOP Class UID is {value}, not MR or Enhanced MR Image Storage"),
    N_("(0008,0060) Modality is {value}, not MR"),
    N_("(0028,0004) Photometric Interpretation is {value}, not MONOCHROME1 or MONOCHROME2"),
    N_("(0028,0002) Samples per Pixel is {value}, not 1"),
    N_("(0008,0008) Image Type is MOSAIC: many slices in one plane"),
    N_("(0028,3000) Modality LUT Sequence: an MR image has a linear rescaling or none (PS3.3 A.4)"),
    N_("(0028,0008) Number of Frames is {count} in an object of {name}"),
    N_("(0028,0008) Number of Frames is {count}; at most {most} are read from one file"),
    N_(
        "(0028,0010) Rows {rows}, (0028,0011) Columns {columns}, (0028,0008) Number of Frames {frames} would take "
        "{size} GiB; at most {most} GiB are read from one file"
    ),
    N_("(0028,0100) Bits Allocated is {value}, not 8, 16 or 32"),
    N_("(0028,0101) Bits Stored is {value} of (0028,0100) Bits Allocated {allocated}"),
    N_("(0028,0103) Pixel Representation is {value}, not 0 or 1"),
    N_("(5200,9230) Per-frame Functional Groups Sequence has more items than the {count} frames"),
    N_("(5200,9230) Per-frame Functional Groups Sequence has {found} items for {count} frames"),
    # Of pixels.
    N_("(7FE0,0010) Pixel Data cannot be decoded: {text}"),
    N_("more than {seconds} s"),
    N_("its decoder ended with code {code}"),
    N_("(7FE0,0010) Pixel Data has shape {shape}"),
    N_("(7FE0,0010) Pixel Data: all pixels are equal, {value}"),
    N_("(7FE0,0010) Pixel Data has not the {count} frames of (0028,0008) Number of Frames"),
    N_("(7FE0,0010) Pixel Data has no codestream of its transfer syntax"),
    N_(
        "(7FE0,0010) Pixel Data is compressed as {rows} rows, {columns} columns, {samples} samples a pixel; "
        "(0028,0010) Rows is {stored_rows}, (0028,0011) Columns is {stored_columns}"
    ),
    N_("(7FE0,0010) Pixel Data has no RLE header"),
    N_("(7FE0,0010) Pixel Data has an RLE header of {segments} segments at {starts}"),
    N_("(7FE0,0010) Pixel Data is {found}, yet (0002,0010) Transfer Syntax UID is {name}"),
    N_("(7FE0,0010) Pixel Data is cut short: {found} of {needed} bytes"),
    # Of a study in the node's queue.
    N_("objects came after its analysis; it is analysed anew"),
    N_("the node ended {count} times while it was analysed"),
    N_("its analysis takes more than {seconds} s"),
    N_("its analysis takes more than {size} GiB of memory"),
    N_("its analysis was killed; the system may have been out of memory"),
    N_("its analysis was ended by {name}"),
    N_("its analysis ended with code {code}; {file} in its folder says where"),
    N_("no series could be analysed: {text}"),
    N_("its results could not be delivered: {text}"),
    N_("{archive} refuses the association"),
    N_("{archive} cannot be reached"),
    N_("the association ended"),
    N_("an object cannot be sent: {error}"),
    N_("the archive does not answer"),
    N_("the archive answers {status}"),
)
