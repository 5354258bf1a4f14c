"""MR images that name their patient wherever DICOM lets them, to be de-identified."""

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from make_dicom import mr_image

SECRET_TEXTS = [
    "Musterfrau", "Erika", "KH-4711-0815", "20140731", "Heidestrasse", "Gabler", "ACC998877", "STUDY5544", "20171224",
    "20171223", "Klinikum", "Hausarzt", "Radtke", "MRSTATION7", "SN-123123", "0221 999999", "1.2.276.0.7230010",
    "SENDERAET", "SPS3344", "Tief", "Verborgen", "VENDOR", "csa", "19620101", "overlay", "curve", "003Y",
]  # fmt: skip


def item(**elements) -> Dataset:
    """A sequence item."""
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def identifying_image(pixels: np.ndarray, **elements) -> Dataset:
    """An image that names its patient wherever DICOM lets it."""
    image = mr_image(
        pixels,
        PatientName="Musterfrau^Erika^^Dr.",
        PatientID="KH-4711-0815",
        PatientBirthDate="20140731",
        PatientSex="F",
        PatientAge="003Y",
        PatientAddress="Heidestrasse 17, Koeln",
        OtherPatientNames="Gabler^Erika",
        AccessionNumber="ACC998877",
        StudyID="STUDY5544",
        StudyDate="20171224",
        StudyTime="101112",
        AcquisitionDateTime="20171224101112.5+0100",
        InstitutionName="Klinikum Musterstadt",
        ReferringPhysicianName="Hausarzt^Hans",
        OperatorsName="Radtke^Rita",
        StationName="MRSTATION7",
        DeviceSerialNumber="SN-123123",
        StudyDescription="Abdomen Musterfrau",
        SeriesDescription="T2_TSE ax Musterfrau b-50",
        ProtocolName="t1 vibe Erika",
        ImageComments="called 0221 999999",
        ManufacturerModelName="Prototype of Musterfrau",
        FrameOfReferenceUID="1.2.276.0.7230010.3.1.4.1",
        StudyInstanceUID="1.2.276.0.7230010.3.1.2.1",
        SeriesInstanceUID="1.2.276.0.7230010.3.1.3.1",
        **elements,
    )
    image.file_meta.SourceApplicationEntityTitle = "SENDERAET"
    image.ReferencedImageSequence = [
        item(ReferencedSOPClassUID=pydicom.uid.MRImageStorage, ReferencedSOPInstanceUID="1.2.276.0.7230010.3.1.4.99")
    ]
    image.RequestAttributesSequence = [
        item(RequestedProcedureDescription="why Musterfrau", ScheduledProcedureStepID="SPS3344")
    ]
    nested = item(PatientID="KH-4711-0815", PerformedProcedureStepStartDate="20171223", PersonName="Tief^Verborgen")
    nested.private_block(0x0029, "VENDOR NESTED", create=True).add_new(0x01, "LO", "private Musterfrau 2")
    image.AnatomicRegionSequence = [item(CodeMeaning="Abdomen", ReferencedStudySequence=[nested])]
    image.AnatomicRegionSequence[0].PurposeOfReferenceCodeSequence = [nested]
    _add_private_and_overlay(image)
    return image


def _add_private_and_overlay(image: Dataset) -> None:
    image.private_block(0x0029, "VENDOR HEADER", create=True).add_new(0x10, "OB", b"csa Musterfrau 19620101 ")
    image.add_new(0x60000010, "US", 4)
    image.add_new(0x60003000, "OW", b"overlay Musterfrau ")
    image.add_new(0x60004000, "LT", "overlay of Musterfrau")
    image.add_new(0x50003000, "OW", b"curve of Musterfrau ")
